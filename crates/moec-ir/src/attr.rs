//! Attributes: what an operation knows besides its operands.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use crate::{DType, Dim, TensorType};

/// A float that is compared, ordered and hashed by its bits, so that it can stand in attributes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Number(u64);

impl Number {
    /// The number `value`; every NaN becomes one NaN.
    pub fn new(value: f64) -> Number {
        Number(if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() })
    }

    /// The number as a float.
    pub fn get(self) -> f64 {
        f64::from_bits(self.0)
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.get();
        if value.is_finite() && value != 0.0 && !(1e-4..1e15).contains(&value.abs()) {
            write!(f, "{value:e}")
        } else {
            write!(f, "{value}")
        }
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Attr {
    /// `true` or `false`.
    Bool(bool),
    /// An axis or a step.
    Int(i64),
    /// A permutation or a map of axes.
    Ints(Vec<i64>),
    /// A number.
    Number(Number),
    /// A list of numbers, shared because it may be long.
    Numbers(Arc<[Number]>),
    /// A size.
    Dim(Dim),
    /// A shape.
    Dims(Vec<Dim>),
    /// An element type.
    DType(DType),
    /// A name, a pattern or an einsum specification.
    Str(Arc<str>),
    /// A tensor type; printed as the type of the result.
    Type(TensorType),
}

/// The kind of an attribute, as an op row asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttrKind {
    /// [`Attr::Bool`].
    Bool,
    /// [`Attr::Int`].
    Int,
    /// [`Attr::Ints`].
    Ints,
    /// [`Attr::Number`].
    Number,
    /// [`Attr::Numbers`].
    Numbers,
    /// [`Attr::Dim`].
    Dim,
    /// [`Attr::Dims`].
    Dims,
    /// [`Attr::DType`].
    DType,
    /// [`Attr::Str`].
    Str,
    /// [`Attr::Type`].
    Type,
}

impl Attr {
    /// The kind of this value.
    pub fn kind(&self) -> AttrKind {
        match self {
            Attr::Bool(_) => AttrKind::Bool,
            Attr::Int(_) => AttrKind::Int,
            Attr::Ints(_) => AttrKind::Ints,
            Attr::Number(_) => AttrKind::Number,
            Attr::Numbers(_) => AttrKind::Numbers,
            Attr::Dim(_) => AttrKind::Dim,
            Attr::Dims(_) => AttrKind::Dims,
            Attr::DType(_) => AttrKind::DType,
            Attr::Str(_) => AttrKind::Str,
            Attr::Type(_) => AttrKind::Type,
        }
    }

    /// The sizes that occur in this value.
    pub fn dims(&self) -> Vec<&Dim> {
        match self {
            Attr::Dim(dim) => vec![dim],
            Attr::Dims(dims) => dims.iter().collect(),
            Attr::Type(ty) => ty.shape.iter().collect(),
            _ => Vec::new(),
        }
    }

    /// This value with every size replaced by `f` of it.
    pub fn map_dims<E>(&self, mut f: impl FnMut(&Dim) -> Result<Dim, E>) -> Result<Attr, E> {
        Ok(match self {
            Attr::Dim(dim) => Attr::Dim(f(dim)?),
            Attr::Dims(dims) => Attr::Dims(dims.iter().map(f).collect::<Result<_, E>>()?),
            Attr::Type(ty) => {
                let shape = ty.shape.iter().map(f).collect::<Result<_, E>>()?;
                Attr::Type(TensorType { dtype: ty.dtype, shape })
            }
            other => other.clone(),
        })
    }
}

macro_rules! from {
    ($($source:ty => $value:ident $body:expr;)*) => {$(
        impl From<$source> for Attr {
            fn from($value: $source) -> Attr {
                $body
            }
        }
    )*};
}

from! {
    bool => value Attr::Bool(value);
    i64 => value Attr::Int(value);
    usize => value Attr::Int(value as i64);
    f64 => value Attr::Number(Number::new(value));
    Vec<i64> => value Attr::Ints(value);
    Vec<usize> => value Attr::Ints(value.into_iter().map(|v| v as i64).collect());
    Dim => value Attr::Dim(value);
    &Dim => value Attr::Dim(value.clone());
    Vec<Dim> => value Attr::Dims(value);
    &[Dim] => value Attr::Dims(value.to_vec());
    DType => value Attr::DType(value);
    &str => value Attr::Str(value.into());
    String => value Attr::Str(value.into());
    TensorType => value Attr::Type(value);
}

impl fmt::Display for Attr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, items: &[T]) -> fmt::Result {
            f.write_str("[")?;
            for (i, item) in items.iter().enumerate() {
                write!(f, "{}{item}", if i == 0 { "" } else { ", " })?;
            }
            f.write_str("]")
        }
        match self {
            Attr::Bool(value) => write!(f, "{value}"),
            Attr::Int(value) => write!(f, "{value}"),
            Attr::Ints(values) => list(f, values),
            Attr::Number(value) => write!(f, "{value}"),
            Attr::Numbers(values) => list(f, values),
            Attr::Dim(value) => write!(f, "{value}"),
            Attr::Dims(values) => list(f, values),
            Attr::DType(value) => write!(f, "{value}"),
            Attr::Str(value) => write!(f, "{value:?}"),
            Attr::Type(value) => write!(f, "{value}"),
        }
    }
}

/// The attributes of one operation, sorted by name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Attrs(Vec<(&'static str, Attr)>);

impl Attrs {
    /// The attributes `items`, in any order.
    pub fn new(items: impl IntoIterator<Item = (&'static str, Attr)>) -> Attrs {
        let mut items: Vec<_> = items.into_iter().collect();
        items.sort_by_key(|(name, _)| *name);
        Attrs(items)
    }

    /// Name and value, sorted by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&'static str, &Attr)> {
        self.0.iter().map(|(name, value)| (*name, value))
    }

    /// These attributes with symbols called as `names` says; others keep their names.
    pub fn renamed(&self, names: &BTreeMap<Arc<str>, Arc<str>>) -> Attrs {
        let value = |value: &Attr| value.map_dims(|dim| Ok::<Dim, Infallible>(dim.renamed(names)));
        let renamed = |(name, old): (&'static str, &Attr)| match value(old) {
            Ok(new) => (name, new),
        };
        Attrs(self.iter().map(renamed).collect())
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&Attr> {
        self.0.iter().find(|(n, _)| *n == name).map(|(_, value)| value)
    }
}

/// Typed access. An op row's attribute list is checked before anything asks for one, so a missing
/// attribute is a bug in moec, never in a program.
macro_rules! accessors {
    ($($(#[$doc:meta])* $name:ident -> $ty:ty, $pattern:pat => $value:expr;)*) => {
        impl Attrs {$(
            $(#[$doc])*
            ///
            /// # Panics
            /// If the op row has no such attribute of this kind.
            pub fn $name(&self, name: &str) -> $ty {
                match self.get(name) {
                    Some($pattern) => $value,
                    other => panic!("attribute {name} is {other:?}, not of kind {}", stringify!($name)),
                }
            }
        )*}
    };
}

accessors! {
    /// A flag.
    bool -> bool, Attr::Bool(v) => *v;
    /// An integer.
    int -> i64, Attr::Int(v) => *v;
    /// A list of integers.
    ints -> &[i64], Attr::Ints(v) => v;
    /// A number.
    number -> f64, Attr::Number(v) => v.get();
    /// A list of numbers.
    numbers -> &Arc<[Number]>, Attr::Numbers(v) => v;
    /// A size.
    dim -> &Dim, Attr::Dim(v) => v;
    /// A shape.
    dims -> &[Dim], Attr::Dims(v) => v;
    /// An element type.
    dtype -> DType, Attr::DType(v) => *v;
    /// A string.
    str -> &str, Attr::Str(v) => v;
    /// A tensor type.
    tensor_type -> &TensorType, Attr::Type(v) => v;
}

impl Attrs {
    /// An axis or another index.
    ///
    /// # Panics
    /// If the op row has no such attribute of this kind. A negative value reads as an index that
    /// no tensor has.
    pub fn index(&self, name: &str) -> usize {
        usize::try_from(self.int(name)).unwrap_or(usize::MAX)
    }
}
