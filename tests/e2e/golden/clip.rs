//! The text tower and its tokenizer.

use std::collections::BTreeMap;

use burn::tensor::Int;
use burn::tensor::Tensor;
use nuwa_model::clip::{CONTEXT_LENGTH, ClipTextConfig, ClipTokenizer};
use nuwa_model::import;

use super::Outputs;
use super::case::{Array, Case};
use crate::test_device;

pub(super) fn text(case: &Case) -> Outputs {
    assert_eq!(
        case.get::<String>("/config/hidden_act"),
        "quick_gelu",
        "{}",
        case.name()
    );
    assert_eq!(
        case.get::<f64>("/config/layer_norm_eps"),
        1e-5,
        "{}",
        case.name()
    );
    let config = ClipTextConfig {
        hidden_size: case.get("/config/hidden_size"),
        intermediate_size: case.get("/config/intermediate_size"),
        num_hidden_layers: case.get("/config/num_hidden_layers"),
        num_attention_heads: case.get("/config/num_attention_heads"),
        vocab_size: case.get("/config/vocab_size"),
        max_position_embeddings: case.get("/config/max_position_embeddings"),
    };
    let device = test_device();
    let path = case.weights_path("/weights");
    let imported = import::clip::text(&path, Some(&config), &device)
        .unwrap_or_else(|e| panic!("{}: {e}", case.name()));
    let ids: Tensor<2, Int> = case.input("ids").int(&device);
    let states = imported.network.forward(ids);
    BTreeMap::from([("last_hidden_state".into(), states.into())])
}

pub(super) fn tokenize(case: &Case) -> Outputs {
    assert_eq!(
        case.get::<usize>("/context_length"),
        CONTEXT_LENGTH,
        "{}",
        case.name()
    );
    let strings: Vec<String> = case.get("/strings");
    let tokenizer = ClipTokenizer::new();
    let ids = strings.iter().flat_map(|string| tokenizer.tokenize(string));
    let ids = ids.map(f64::from).collect();
    BTreeMap::from([(
        "ids".into(),
        Array::new([strings.len(), CONTEXT_LENGTH], ids),
    )])
}
