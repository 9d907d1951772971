//! Patch geometry: orders, extents, routes and schedules. Integers only; never imports Burn.
//!
//! A [`Route`] is computed once, from a grid, an order and an extent. It answers every question the
//! rest of the system has about time and place: what a patch sees, which row of the position table
//! each neighbor takes, when a cache may be dropped, and which patches can be rendered together.

mod error;
mod extent;
mod order;
mod passes;
mod route;
mod schedule;
mod units;

pub use error::RouteError;
pub use extent::Extent;
pub use order::Order;
pub use route::{ContextEntry, PatchRect, Route, Step};
pub use schedule::{Schedule, Wave};
pub use units::{GridSize, PatchIndex, PixelSize, TokenSize};
