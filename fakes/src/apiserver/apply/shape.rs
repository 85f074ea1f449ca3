//! What a value is to the merge: a map, a list or a scalar, by schema where there is one and by the value where there is none.

use std::borrow::Cow;
use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::element::{Element, Scalar};
use super::go;
use crate::apiserver::schema::{ListType, MapType, Node, NodeKind};

/// The type of a value.
#[derive(Clone, Copy)]
pub(super) enum Type<'a> {
    /// A whole object: the schema of its kind plus apiVersion, kind and metadata.
    Root(&'a Node),
    /// A value below it. `open`: an ancestor keeps undeclared fields, which here (unlike in pruning) is inherited.
    Declared { node: &'a Node, open: bool },
    /// No schema: maps merge by key, lists are replaced.
    Deduced,
    /// No schema and inside a list: replaced as a whole.
    Untyped,
    /// A string.
    Text,
}

/// The handler a value gets.
#[derive(Clone, Copy)]
pub(super) enum Shape<'a> {
    Map(MapShape<'a>),
    List(ListShape<'a>),
    Scalar(ScalarKind),
}

/// Which of the shapes of a type a value picked. `Any` is a null or a value of none of them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    Any,
    Map,
    List,
    Scalar,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ScalarKind {
    Numeric,
    String,
    Boolean,
    Untyped,
}

#[derive(Clone, Copy)]
pub(super) struct MapShape<'a> {
    node: Option<&'a Node>,
    object: bool,
    open: bool,
    pub(super) atomic: bool,
}

/// Where a key of a map leads.
#[derive(Clone, Copy)]
pub(super) struct Field<'a> {
    pub(super) of: Type<'a>,
    /// Declared by name, not as one of many keys.
    pub(super) named: bool,
}

#[derive(Clone, Copy)]
pub(super) struct ListShape<'a> {
    node: Option<&'a Node>,
    open: bool,
    pub(super) list_type: ListType,
}

impl<'a> Type<'a> {
    /// The map shape of this type, if it can be a map.
    pub(super) fn map(self) -> Option<MapShape<'a>> {
        match self {
            Type::Root(node) => {
                Some(MapShape { node: Some(node), object: true, open: node.preserve_unknown, atomic: false })
            }
            Type::Declared { node, open } => match node.kind {
                NodeKind::Object | NodeKind::Any | NodeKind::IntOrString => Some(MapShape {
                    node: Some(node),
                    object: node.embedded_resource,
                    open: open || node.preserve_unknown,
                    atomic: node.map_type == MapType::Atomic,
                }),
                _ => None,
            },
            Type::Deduced => Some(MapShape { node: None, object: false, open: true, atomic: false }),
            Type::Untyped => Some(MapShape { node: None, object: false, open: true, atomic: true }),
            Type::Text => None,
        }
    }

    /// The list shape of this type, if it can be a list.
    pub(super) fn list(self) -> Option<ListShape<'a>> {
        match self {
            Type::Declared { node, open } => match node.kind {
                NodeKind::Array | NodeKind::Any | NodeKind::IntOrString => {
                    Some(ListShape { node: Some(node), open: open || node.preserve_unknown, list_type: node.list_type })
                }
                _ => None,
            },
            Type::Deduced | Type::Untyped => Some(ListShape { node: None, open: true, list_type: ListType::Atomic }),
            Type::Root(_) | Type::Text => None,
        }
    }

    fn scalar(self) -> Option<ScalarKind> {
        match self {
            Type::Declared { node, .. } => match node.kind {
                NodeKind::Integer | NodeKind::Number => Some(ScalarKind::Numeric),
                NodeKind::Boolean => Some(ScalarKind::Boolean),
                // Only plain and base64 strings are checked to be strings; other formats may be anything scalar.
                NodeKind::String => match node.checks.format.as_deref() {
                    None | Some("" | "byte") => Some(ScalarKind::String),
                    Some(_) => Some(ScalarKind::Untyped),
                },
                NodeKind::Any | NodeKind::IntOrString => Some(ScalarKind::Untyped),
                NodeKind::Object | NodeKind::Array => None,
            },
            Type::Deduced | Type::Untyped => Some(ScalarKind::Untyped),
            Type::Text => Some(ScalarKind::String),
            Type::Root(_) => None,
        }
    }

    /// Which shape a value picks among those the type allows.
    pub(super) fn choose(self, value: &Value) -> Choice {
        let (choice, allowed) = match value {
            Value::Null => return Choice::Any,
            Value::Object(_) => (Choice::Map, self.map().is_some()),
            Value::Array(_) => (Choice::List, self.list().is_some()),
            _ => (Choice::Scalar, self.scalar().is_some()),
        };
        // A type with one shape has nothing to choose.
        if allowed && self.shapes() > 1 { choice } else { Choice::Any }
    }

    fn shapes(self) -> u8 {
        u8::from(self.map().is_some()) + u8::from(self.list().is_some()) + u8::from(self.scalar().is_some())
    }

    /// The handler for a choice; with several left, a map goes before a scalar before a list.
    pub(super) fn shape(self, choice: Choice) -> Shape<'a> {
        let map = self.map().filter(|_| matches!(choice, Choice::Any | Choice::Map)).map(Shape::Map);
        let scalar = self.scalar().filter(|_| matches!(choice, Choice::Any | Choice::Scalar)).map(Shape::Scalar);
        let list = self.list().filter(|_| matches!(choice, Choice::Any | Choice::List)).map(Shape::List);
        map.or(scalar).or(list).unwrap_or(Shape::Scalar(ScalarKind::Untyped))
    }

    /// The handler for one value.
    pub(super) fn shape_of(self, value: &Value) -> Shape<'a> {
        self.shape(self.choose(value))
    }
}

impl<'a> MapShape<'a> {
    /// Where a key leads; `None` where it is not declared.
    pub(super) fn field(&self, name: &str) -> Option<Field<'a>> {
        if self.object {
            match name {
                "apiVersion" | "kind" => return Some(Field { of: Type::Text, named: true }),
                "metadata" => {
                    return Some(Field { of: Type::Declared { node: &METADATA, open: false }, named: true });
                }
                _ => {}
            }
        }
        let Some(node) = self.node else {
            return Some(Field { of: if self.atomic { Type::Untyped } else { Type::Deduced }, named: false });
        };
        if let Some(field) = node.properties.get(name) {
            return Some(Field { of: Type::Declared { node: field, open: self.open }, named: true });
        }
        if let Some(field) = &node.additional {
            return Some(Field { of: Type::Declared { node: field, open: self.open }, named: false });
        }
        // An object that declares nothing is free-form.
        (self.open || (node.properties.is_empty() && !self.object)).then_some(Field { of: Type::Deduced, named: false })
    }

    /// The entries that take part: the record of ownership is not itself owned.
    pub(super) fn entries<'v>(
        &self,
        map: &'v Map<String, Value>,
    ) -> impl Iterator<Item = (&'v str, &'v Value)> + use<'v> {
        let metadata = self.node.is_some_and(|node| std::ptr::eq(node, &*METADATA));
        map.iter()
            .map(|(key, value)| (key.as_str(), value))
            .filter(move |(key, _)| !(metadata && *key == "managedFields"))
    }
}

impl<'a> ListShape<'a> {
    pub(super) fn atomic(&self) -> bool {
        self.list_type == ListType::Atomic
    }

    /// The type of the items.
    pub(super) fn item(&self) -> Type<'a> {
        match self.node {
            None => Type::Untyped,
            Some(node) => match &node.items {
                Some(items) => Type::Declared { node: items, open: self.open },
                None => Type::Deduced,
            },
        }
    }

    /// How an item of an associative list is addressed.
    ///
    /// # Errors
    /// The reason why it cannot be.
    pub(super) fn element<'v>(&self, item: &'v Value) -> Result<Element<'v>, String>
    where
        'a: 'v,
    {
        let keys = self.node.map_or(&[][..], |node| &node.list_map_keys);
        if self.list_type == ListType::Set || keys.is_empty() {
            return match item {
                Value::Object(_) => Err("associative list without keys has an element that's a map type".to_owned()),
                Value::Array(_) => Err("not supported: associative list with lists as elements".to_owned()),
                Value::Null => Err("associative list without keys has an element that's an explicit null".to_owned()),
                scalar => Ok(Element::Value(Scalar(Cow::Borrowed(scalar)))),
            };
        }
        let fields = match item {
            Value::Null => return Err("associative list with keys may not have a null element".to_owned()),
            Value::Object(fields) => fields,
            _ => return Err("associative list with keys may not have non-map elements".to_owned()),
        };
        let items = self.node.and_then(|node| node.items.as_deref());
        let default =
            |key: &str| items.and_then(|items| items.properties.get(key)).and_then(|field| field.default.as_ref());
        let mut found: Vec<(Cow<'v, str>, Scalar<'v>)> = Vec::with_capacity(keys.len());
        for key in keys {
            if let Some(value) = fields.get(key).or_else(|| default(key)) {
                found.push((Cow::Borrowed(key.as_str()), Scalar(Cow::Borrowed(value))));
            }
        }
        if found.is_empty() {
            let names: Vec<String> = keys.iter().map(|key| go::quote(key)).collect();
            return Err(format!(
                "associative list with keys has an element that omits all key fields [{}] \
                 (and doesn't have default values for any key fields)",
                names.join(" ")
            ));
        }
        found.sort();
        Ok(Element::Key(found))
    }
}

/// Metadata as every kind has it: labels and annotations merge by key, finalizers are a set, owner references are
/// found by uid and replaced as a whole (apiserver.md D13).
static METADATA: LazyLock<Node> = LazyLock::new(|| {
    let text = json!({"type": "string"});
    let time = json!({"type": "string", "format": "date-time"});
    let map = json!({"type": "object", "additionalProperties": {"type": "string"}});
    Node::from_openapi(&json!({"type": "object", "properties": {
        "name": text, "generateName": text, "namespace": text, "selfLink": text, "uid": text, "resourceVersion": text,
        "generation": {"type": "integer"}, "creationTimestamp": time, "deletionTimestamp": time,
        "deletionGracePeriodSeconds": {"type": "integer"}, "labels": map, "annotations": map,
        "finalizers": {"type": "array", "items": text, "x-kubernetes-list-type": "set"},
        "ownerReferences": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["uid"],
            "items": {"type": "object", "x-kubernetes-map-type": "atomic", "properties": {
                "apiVersion": text, "kind": text, "name": text, "uid": text,
                "controller": {"type": "boolean"}, "blockOwnerDeletion": {"type": "boolean"}}}},
        "managedFields": {"type": "array", "items": {"type": "object"}}
    }}))
});
