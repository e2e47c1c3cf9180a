//! Settings files: YAML text to a tree with exact positions ([`parse`]), read by declared [`Keys`] through typed
//! [`Section`]s that collect every problem in one [`Report`] instead of stopping at the first, and that remember each effective
//! value, so that the complete settings with all defaults can be printed ([`Node::to_yaml`]).
//!
//! serde_yaml's derived types are not used for this: they stop at the first problem, lose the position of
//! missing and flattened fields and know neither `<<` nor the YAML 1.1 words for true and false.

mod inside;
mod keys;
mod nearest;
mod parse;
mod print;
mod reference;
mod report;
mod section;
mod source;
mod tree;

pub use keys::Keys;
pub(crate) use keys::keys;
pub use nearest::nearest;
pub use parse::parse;
pub use print::shown;
pub use report::Report;
pub use section::{Scalar, Section};
pub use source::{MAX_BYTES, decode};
pub use tree::{At, Node, Pair, Value};
