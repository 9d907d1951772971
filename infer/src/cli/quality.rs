//! `info --quality`: how well the parts of a painting fit together.

use std::path::Path;

use anyhow::{Context, ensure};
use nuwa_data::pending::folder_of;
use nuwa_data::{Picture, Spool};
use nuwa_model::vqgan::tiled::Tiling;

use super::args::{Common, InfoArgs};
use super::{Misuse, load};
use crate::canvas::Development;
use crate::painting::{self, Painting};
use crate::request::Header;
use crate::seams::{Borders, SeamMeter, Seams};
use crate::task::{Layout, PointPx, SizePx};

/// Measures a picture that says how it was made. It is read whole into memory.
///
/// Its given part is the rectangle where the given picture was, without what was painted again;
/// what a mask left of it only its token file knows.
pub(super) fn of_picture(path: &Path, header: &Header) -> anyhow::Result<Seams> {
    let picture = Picture::read(path)?;
    let request = &header.request;
    let (own, size) = (SizePx::of(&picture), request.size);
    ensure!(
        own == size,
        "{} has {own}, and was painted with {size}",
        path.display()
    );
    let known = request.at.zip(request.picture_size);
    let known = known.filter(|_| request.mask.is_none());
    let is_given = |place: PointPx| {
        let inside = |at: PointPx, size: SizePx| {
            let from = |at: usize, start: usize, len: usize| at >= start && at - start < len;
            from(place.x, at.x, size.w) && from(place.y, at.y, size.h)
        };
        let is_repainted = || request.repainted.iter().any(|r| inside(r.at, r.size));
        known.is_some_and(|(at, size)| inside(at, size)) && !is_repainted()
    };
    let layout = painting::layout(header)?;
    let mut meter = SeamMeter::new(borders(header, &layout), &is_given);
    meter.add_rows(picture.rgb());
    Ok(meter.seams())
}

/// Measures a painting in a token file, decoded beside it.
pub(super) fn of_tokens(args: &InfoArgs, painting: &Painting) -> anyhow::Result<Seams> {
    let path = &args.file;
    let model = args.model.clone().ok_or_else(|| {
        Misuse("--quality of a token file needs the --model that makes its pixels".into())
    })?;
    let open = painting.n_open();
    if open > 0 {
        let text = format!("{} is not finished: {open} patches to go", path.display());
        return Err(Misuse(text).into());
    }
    let common = Common {
        model,
        device: args.device,
        quiet: true,
        json: false,
    };
    let run = load(&common)?;
    painting.check_vqgan(path, &run)?;
    let (layout, given) = (&painting.layout, &painting.given);
    let spool = Spool::create(folder_of(path), layout.size.w, layout.size.h, 1)?;
    let development = Development::new(&run, *layout, given.clone(), 1, spool);
    let spool = development.finish(&painting.tokens)?;
    let given = given.as_ref();
    let is_given = |PointPx { x, y }: PointPx| {
        given.is_some_and(|given| given.pixel(x as isize, y as isize).is_some())
    };
    let mut meter = SeamMeter::new(borders(&painting.header, layout), &is_given);
    let measured = spool.each_band(0, |rows| {
        meter.add_rows(rows);
        Ok(())
    });
    measured.with_context(|| format!("cannot measure {}", path.display()))?;
    Ok(meter.seams())
}

fn borders(header: &Header, layout: &Layout) -> Borders {
    let tiling = Tiling::of_stride(header.model.stride);
    Borders::new(layout, header.model.patch, &tiling)
}
