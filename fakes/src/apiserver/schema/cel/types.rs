//! Types of expressions, and what a schema node is to an expression.

use std::fmt;
use std::sync::LazyLock;

use serde_json::json;

use crate::apiserver::schema::node::{Node, NodeKind};

/// The static type of an expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Type<'n> {
    /// Known at run time only.
    Dyn,
    /// `null`.
    Null,
    /// `bool`.
    Bool,
    /// `int`, 64 bits.
    Int,
    /// `uint`, 64 bits.
    Uint,
    /// `double`.
    Double,
    /// `string`.
    String,
    /// `bytes`.
    Bytes,
    /// `google.protobuf.Duration`.
    Duration,
    /// `google.protobuf.Timestamp`.
    Timestamp,
    /// The type of a type.
    Type,
    /// `list(T)`.
    List(Box<Type<'n>>),
    /// `map(K, V)`.
    Map(Box<Type<'n>>, Box<Type<'n>>),
    /// An object with declared fields.
    Object(Declared<'n>),
    /// `optional_type(T)`.
    Optional(Box<Type<'n>>),
    /// A type of a library, such as `kubernetes.Quantity`.
    Opaque(&'static str),
    /// A type variable of a signature.
    Variable(u8),
}

/// A schema node seen as a declaration.
#[derive(Clone, Copy, Debug)]
pub struct Declared<'n> {
    /// The node.
    pub node: &'n Node,
    /// Whether it is a whole resource, which always has apiVersion, kind and metadata.
    pub resource: bool,
}

impl PartialEq for Declared<'_> {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.node, other.node)
    }
}

/// What is visible of a resource's metadata.
static METADATA: LazyLock<Node> = LazyLock::new(|| {
    Node::from_openapi(
        &json!({"type": "object", "properties": {"name": {"type": "string"}, "generateName": {"type": "string"}}}),
    )
});
static TEXT: LazyLock<Node> = LazyLock::new(|| Node::from_openapi(&json!({"type": "string"})));

impl<'n> Declared<'n> {
    /// A node below the top.
    pub fn part(node: &'n Node) -> Declared<'n> {
        Declared { node, resource: node.embedded_resource }
    }

    /// The declaration of a property by its JSON name.
    pub fn property(&self, name: &str) -> Option<Declared<'n>> {
        if self.resource {
            match name {
                "metadata" => return Some(Declared { node: &METADATA, resource: false }),
                "apiVersion" | "kind" => return Some(Declared { node: &TEXT, resource: false }),
                _ => {}
            }
        }
        self.node.properties.get(name).map(|node| Declared::part(node))
    }

    /// The JSON name and declaration of the field that an expression calls `name`.
    pub fn field(&self, name: &str) -> Option<(String, Declared<'n>)> {
        if escape(name).as_deref() == Some(name)
            && let Some(found) = self.property(name)
        {
            return Some((name.to_owned(), found));
        }
        self.node
            .properties
            .iter()
            .find(|(property, _)| escape(property).as_deref() == Some(name))
            .map(|(property, node)| (property.clone(), Declared::part(node)))
    }

    /// The declaration of the items of a list or the values of a map.
    pub fn element(&self) -> Option<Declared<'n>> {
        let node = if self.node.kind == NodeKind::Array {
            self.node.items.as_deref()
        } else {
            self.node.additional.as_deref()
        };
        node.map(Declared::part)
    }

    /// Whether it is a map rather than an object with fields.
    pub fn is_map(&self) -> bool {
        self.node.kind == NodeKind::Object && self.node.additional.is_some() && self.node.properties.is_empty()
    }

    /// The type; none for what expressions cannot see.
    pub fn kind(&self) -> Option<Type<'n>> {
        Some(match self.node.kind {
            NodeKind::IntOrString => Type::Dyn,
            NodeKind::Any => return None,
            NodeKind::Boolean => Type::Bool,
            NodeKind::Integer => Type::Int,
            NodeKind::Number => Type::Double,
            NodeKind::String => match self.node.checks.format.as_deref() {
                Some("byte") => Type::Bytes,
                Some("duration") => Type::Duration,
                Some("date" | "date-time") => Type::Timestamp,
                _ => Type::String,
            },
            NodeKind::Array => Type::List(Box::new(self.element()?.kind()?)),
            NodeKind::Object if self.is_map() => Type::Map(Box::new(Type::String), Box::new(self.element()?.kind()?)),
            NodeKind::Object => Type::Object(*self),
        })
    }
}

const RESERVED: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// The name by which expressions know a property; none when it cannot be written.
pub fn escape(name: &str) -> Option<String> {
    if RESERVED.contains(&name) {
        return Some(format!("__{name}__"));
    }
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(character) = rest.chars().next() {
        let (written, length) = match character {
            '_' if rest.starts_with("__") => ("__underscores__".to_owned(), 2),
            '.' => ("__dot__".to_owned(), 1),
            '-' => ("__dash__".to_owned(), 1),
            '/' => ("__slash__".to_owned(), 1),
            '0'..='9' if out.is_empty() => return None,
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' => (character.to_string(), 1),
            _ => return None,
        };
        out.push_str(&written);
        rest = &rest[length..];
    }
    (!out.is_empty()).then_some(out)
}

impl fmt::Display for Type<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Dyn => out.write_str("dyn"),
            Type::Null => out.write_str("null"),
            Type::Bool => out.write_str("bool"),
            Type::Int => out.write_str("int"),
            Type::Uint => out.write_str("uint"),
            Type::Double => out.write_str("double"),
            Type::String => out.write_str("string"),
            Type::Bytes => out.write_str("bytes"),
            Type::Duration => out.write_str("google.protobuf.Duration"),
            Type::Timestamp => out.write_str("google.protobuf.Timestamp"),
            Type::Type => out.write_str("type"),
            Type::List(item) => write!(out, "list({item})"),
            Type::Map(key, value) => write!(out, "map({key}, {value})"),
            Type::Object(_) => out.write_str("object"),
            Type::Optional(inner) => write!(out, "optional_type({inner})"),
            Type::Opaque(name) => out.write_str(name),
            Type::Variable(index) => write!(out, "{}", char::from(b'A' + index)),
        }
    }
}

/// What the type variables of a signature stand for in one call.
#[derive(Default)]
pub struct Bindings<'n>([Option<Type<'n>>; 4]);

impl<'n> Bindings<'n> {
    /// Whether `argument` fits `parameter`, binding variables on the way.
    pub fn accept(&mut self, parameter: &Type<'n>, argument: &Type<'n>) -> bool {
        match (parameter, argument) {
            (Type::Variable(index), _) => {
                let slot = usize::from(*index);
                match self.0[slot].clone() {
                    None => {
                        self.0[slot] = Some(argument.clone());
                        true
                    }
                    Some(bound) => {
                        if bound.accepts(argument) {
                            true
                        } else if argument.accepts(&bound) {
                            self.0[slot] = Some(argument.clone());
                            true
                        } else {
                            false
                        }
                    }
                }
            }
            (Type::List(left), Type::List(right)) | (Type::Optional(left), Type::Optional(right)) => {
                self.accept(left, right)
            }
            (Type::Map(key, value), Type::Map(other_key, other_value)) => {
                self.accept(key, other_key) && self.accept(value, other_value)
            }
            _ => parameter.accepts(argument),
        }
    }

    /// The type with variables replaced; unbound ones are dynamic.
    pub fn resolve(&self, kind: &Type<'n>) -> Type<'n> {
        match kind {
            Type::Variable(index) => self.0[usize::from(*index)].clone().unwrap_or(Type::Dyn),
            Type::List(item) => Type::List(Box::new(self.resolve(item))),
            Type::Map(key, value) => Type::Map(Box::new(self.resolve(key)), Box::new(self.resolve(value))),
            Type::Optional(inner) => Type::Optional(Box::new(self.resolve(inner))),
            other => other.clone(),
        }
    }
}

impl<'n> Type<'n> {
    /// Whether a value of type `other` can be used where this type is wanted.
    pub fn accepts(&self, other: &Type<'n>) -> bool {
        match (self, other) {
            (Type::Dyn, _) | (_, Type::Dyn) => true,
            (Type::Object(_) | Type::Optional(_) | Type::Duration | Type::Timestamp | Type::Opaque(_), Type::Null)
            | (Type::Null, Type::Object(_) | Type::Optional(_) | Type::Duration | Type::Timestamp | Type::Opaque(_)) => {
                true
            }
            (Type::List(left), Type::List(right)) | (Type::Optional(left), Type::Optional(right)) => {
                left.accepts(right)
            }
            (Type::Map(key, value), Type::Map(other_key, other_value)) => {
                key.accepts(other_key) && value.accepts(other_value)
            }
            _ => self == other,
        }
    }
}
