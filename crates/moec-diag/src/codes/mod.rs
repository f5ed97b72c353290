//! The registry: one module per family, one entry per code. To add a code, add an entry to its family.

/// Declares the codes of a family: `NAME = "slug", "title", "long text";`.
macro_rules! codes {
    ($($name:ident = $slug:literal, $title:literal, $text:literal;)*) => {
        $(
            #[doc = concat!("`", $slug, "`: ", $title, ".")]
            pub static $name: $crate::Code = $crate::Code::new($slug, $title, $text);
        )*
        pub(super) static FAMILY: &[&$crate::Code] = &[$(&$name),*];
    };
}

mod dims;
mod names;
mod shapes;
mod syntax;
mod types;
mod warnings;
mod weights;

pub use dims::*;
pub use names::*;
pub use shapes::*;
pub use syntax::*;
pub use types::*;
pub use warnings::*;
pub use weights::*;

/// Every family: its name and its codes.
pub(crate) static FAMILIES: &[(&str, &[&crate::Code])] = &[
    ("syntax", syntax::FAMILY),
    ("names", names::FAMILY),
    ("dims", dims::FAMILY),
    ("shapes", shapes::FAMILY),
    ("types", types::FAMILY),
    ("weights", weights::FAMILY),
    ("warnings", warnings::FAMILY),
];
