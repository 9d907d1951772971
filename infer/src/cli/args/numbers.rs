//! Numbers with bounds.

pub(super) fn temperature(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if number > 0.0 && number.is_finite() {
        Ok(number)
    } else {
        Err("must be above 0".into())
    }
}

pub(super) fn share(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if number > 0.0 && number <= 1.0 {
        Ok(number)
    } else {
        Err("must be above 0 and at most 1".into())
    }
}

pub(super) fn guidance(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=1000.0).contains(&number) {
        Ok(number)
    } else {
        Err("must lie between 0 and 1000".into())
    }
}

pub(super) fn smoothing(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..1.0).contains(&number) {
        Ok(number)
    } else {
        Err("must be at least 0 and below 1".into())
    }
}
