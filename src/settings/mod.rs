//! Settings files: YAML text to a tree with exact positions ([`parse`]), read through typed [`Section`]s that
//! collect every problem in one [`Report`] instead of stopping at the first, and that remember each effective
//! value, so that the complete settings with all defaults can be printed ([`Node::to_yaml`]).
//!
//! serde_yaml's derived types are not used for this: they stop at the first problem, lose the position of
//! missing and flattened fields and know neither `<<` nor the YAML 1.1 words for true and false.

mod nearest;
mod parse;
mod print;
mod report;
mod section;
mod tree;

pub use nearest::nearest;
pub use parse::{MAX_BYTES, decode, parse};
pub use print::shown;
pub use report::Report;
pub use section::{Scalar, Section};
pub use tree::{At, Node, Pair, Value};
