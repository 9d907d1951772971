//! What was asked for: everything that decides which tokens are painted, and nothing else.
//!
//! It heads every token file, so that the same command goes on with it and another one does not.

use nuwa_model::patch::{Extent, TokenSize};
use nuwa_model::render::Precision;
use nuwa_model::render::sampling::{Choice, Uncover, Unmasking};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::prompts::Span;
use crate::task::{PointPx, RegionPx, RouteKind, SizePx, TaskKind};

/// A painting as it was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Which of the tasks.
    pub task: TaskKind,
    /// The result in pixels.
    pub size: SizePx,
    /// Its frames; 1 for a picture.
    pub frames: usize,
    /// Where the given picture lies in the result.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub at: Option<PointPx>,
    /// SHA-256 of the given picture's file.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub picture: Option<String>,
    /// The given picture in pixels.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub picture_size: Option<SizePx>,
    /// SHA-256 of the given mask's file.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mask: Option<String>,
    /// What is painted, in words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub prompt: Option<String>,
    /// What it changes to along the painting, instead.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub prompts: Vec<Span>,
    /// What is not wanted, in words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub negative: Option<String>,
    /// How far beyond the prompt's own logits, away from the negative one's.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub guidance: Option<f64>,
    /// Regions that were painted again afterwards, each with another seed.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub repainted: Vec<RegionPx>,
    /// Way through the patches, `auto` already decided.
    pub route: RouteKind,
    /// Seed of the random choices.
    pub seed: u64,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// What the renderer computes in; single precision where nothing is said.
    #[serde(default)]
    pub precision: Precision,
}

impl Request {
    /// Tells whether anything is said in words.
    pub fn is_told(&self) -> bool {
        self.prompt.is_some()
            || !self.prompts.is_empty()
            || self.negative.is_some()
            || self.guidance.is_some()
    }
}

/// How tokens are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// AR draws from this many of the likeliest codes.
    pub top_k: usize,
    /// The likeliest of these that together have this probability are enough.
    pub top_p: f64,
    /// Divides the scores before drawing.
    pub temperature: f64,
    /// Label smoothing that is taken off the probabilities.
    #[serde(default)]
    pub smoothing: f64,
    /// Rounds of P-NAR for each patch.
    pub steps: usize,
    /// Which places P-NAR uncovers first.
    pub unmask: Unmask,
}

/// Which places P-NAR uncovers first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Unmask {
    /// Those it is surest of.
    Confidence,
    /// Those spread widest.
    Halton,
}

impl Sampling {
    /// Gives the rule for the renderer.
    pub fn choice(&self) -> Choice {
        Choice::Drawn {
            top_k: self.top_k,
            top_p: self.top_p,
            temperature: self.temperature,
        }
    }

    /// Gives how P-NAR goes.
    pub fn unmasking(&self) -> Unmasking {
        Unmasking {
            rounds: self.steps,
            first: match self.unmask {
                Unmask::Confidence => Uncover::Surest,
                Unmask::Halton => Uncover::Spread,
            },
        }
    }
}

/// The networks that paint, by their fingerprints and what is needed to read tokens without them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Fingerprint of the VQGAN.
    pub vqgan: String,
    /// Fingerprint of the renderer.
    pub renderer: String,
    /// Fingerprint of the text network, if the renderer is told in words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub text: Option<String>,
    /// Under which terms the weights, and what they paint, may be used.
    pub licence: String,
    /// Pixels per token and axis.
    pub stride: usize,
    /// Codes there are.
    pub n_codes: usize,
    /// Tokens of one patch.
    pub patch: TokenSize,
    /// Reach of the context.
    pub extent: Extent,
}

/// The head of a token file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// The program that began it; not compared.
    pub program: String,
    /// What paints.
    pub model: Model,
    /// What is painted.
    pub request: Request,
}

impl Header {
    /// Gives the head as text, as pictures carry it with them.
    pub fn description(&self) -> String {
        serde_json::to_string(self).expect("plain numbers and strings")
    }

    /// Names everything in which two paintings differ, as in `seed: 5, not 7`: this one's value
    /// first.
    pub fn differences(&self, asked: &Self) -> Vec<String> {
        let value =
            |header: &Self| serde_json::json!({ "model": header.model, "request": header.request });
        let mut found = Vec::new();
        compare("", &value(self), &value(asked), &mut found);
        found
    }
}

fn compare(name: &str, here: &Value, asked: &Value, found: &mut Vec<String>) {
    let (Value::Object(a), Value::Object(b)) = (here, asked) else {
        if here != asked {
            let show = |value: &Value| match value {
                Value::Null => "none".to_owned(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            found.push(format!("{name}: {}, not {}", show(here), show(asked)));
        }
        return;
    };
    let only_b = b.keys().filter(|key| !a.contains_key(*key));
    for key in a.keys().chain(only_b) {
        // The names of the two halves say nothing to who reads the difference.
        let name = match name {
            "" => "",
            "model" | "sampling" => name,
            _ => "",
        };
        let below = match (name, key.as_str()) {
            ("", "request") => String::new(),
            ("", key) => key.to_owned(),
            (name, key) => format!("{name} {key}"),
        };
        let at = |map: &serde_json::Map<String, Value>| map.get(key).cloned();
        let [here, asked] = [a, b].map(|map| at(map).unwrap_or(Value::Null));
        compare(&below, &here, &asked, found);
    }
}
