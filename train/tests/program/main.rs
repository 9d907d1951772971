//! The real program `nuwa-train`: exit codes, streams and what it leaves on disk.

mod config;
mod one_shot;
mod pg_vqgan;
mod place;
mod prepare;
mod render;
mod tokenize;
mod training;
mod vqgan;
