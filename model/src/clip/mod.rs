//! CLIP, the judge of text and pictures whose text tower gives the renderer its prompt.
//!
//! Only the text tower and its tokenizer are here. Not in the paper: which CLIP; ViT-B/32 is
//! taken, whose 77 × 512 states are those after the last LayerNorm.

mod clean;
mod encoder;
mod text;
mod tokenizer;

pub use self::encoder::{ClipAttention, ClipEncoder, ClipLayer, ClipMlp};
pub use self::text::{ClipText, ClipTextConfig, ClipTextEmbeddings};
pub use self::tokenizer::{CONTEXT_LENGTH, ClipTokenizer};
