//! Painting: tasks, the engine (Algorithm 2), the canvas, and the `nuwa-infer` program.

pub mod canvas;
mod cli;
pub mod copy_distance;
pub mod engine;
mod film;
pub mod given;
pub mod model_run;
pub mod pace;
pub mod painting;
mod palette;
pub mod plan;
pub mod prompts;
pub mod request;
pub mod seams;
pub mod task;
pub mod token_file;

pub use cli::run;
