//! Painting: requests, the engine (Algorithm 2), the canvas, and the `nuwa-infer` program.

pub mod engine;
