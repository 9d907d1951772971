//! `nuwa-train weights inspect`: what a file or folder of weights says about itself.

use std::fmt::Write as _;

use nuwa_model::checkpoint::{self, Kind, TensorInfo};
use nuwa_model::import;
use serde_json::{Value, json};

use super::{InspectArgs, header, print};

/// What `weights inspect` tells.
struct Report {
    kind: Option<Kind>,
    architecture: Option<Value>,
    licence: Option<String>,
    source: Option<String>,
    tensors: Vec<TensorInfo>,
}

pub(super) fn inspect(args: &InspectArgs) -> anyhow::Result<()> {
    let report = if args.path.is_dir() {
        let (header, architecture) = header(&args.path)?;
        Report {
            kind: Some(header.kind),
            architecture: Some(architecture),
            licence: Some(header.licence),
            source: Some(header.source),
            tensors: checkpoint::tensors(&args.path)?,
        }
    } else {
        let import::Description {
            kind,
            architecture,
            licence,
            source,
            tensors,
        } = import::describe(&args.path)?;
        Report {
            kind,
            architecture,
            licence,
            source,
            tensors,
        }
    };
    print(&if args.json {
        report.json()
    } else {
        report.text()
    })
}

impl Report {
    fn n_params(&self) -> usize {
        self.tensors
            .iter()
            .map(|tensor| tensor.shape.iter().product::<usize>())
            .sum()
    }

    fn json(&self) -> String {
        let tensor = |TensorInfo { name, dtype, shape }: &TensorInfo| json!({ "name": name, "dtype": dtype, "shape": shape });
        let report = json!({
            "kind": self.kind,
            "architecture": self.architecture,
            "licence": self.licence,
            "source": self.source,
            "parameters": self.n_params(),
            "tensors": self.tensors.iter().map(tensor).collect::<Vec<_>>(),
        });
        format!("{report:#}\n")
    }

    fn text(&self) -> String {
        let unknown = || "unknown".to_owned();
        let rows = [
            (
                "kind",
                self.kind.map_or_else(unknown, |kind| kind.to_string()),
            ),
            (
                "architecture",
                self.architecture
                    .as_ref()
                    .map_or_else(unknown, Value::to_string),
            ),
            ("licence", self.licence.clone().unwrap_or_else(unknown)),
            ("source", self.source.clone().unwrap_or_else(unknown)),
            (
                "parameters",
                format!("{} in {} tensors", self.n_params(), self.tensors.len()),
            ),
        ];
        let mut text = String::new();
        for (label, value) in rows {
            writeln!(text, "{label:<13} {value}").expect("a string takes all");
        }
        let width = self
            .tensors
            .iter()
            .map(|tensor| tensor.name.len())
            .max()
            .unwrap_or(0);
        for TensorInfo { name, dtype, shape } in &self.tensors {
            writeln!(text, "{name:<width$} {dtype} {shape:?}").expect("a string takes all");
        }
        text
    }
}
