//! Our CEL evaluator against that of the `cel` crate (ARCHITECTURE decision 4): every rule of every definition at hand over made-up
//! objects, and made-up expressions. Both fail, or both give the same value; what differs for a reason is in a table.

use std::sync::Arc;

use fakes::apiserver::schema::cel::check::{self, Variable};
use fakes::apiserver::schema::cel::eval;
use fakes::apiserver::schema::cel::types::{Declared, Type, escape};
use fakes::apiserver::schema::cel::value::Val;
use kube_cel::KubeCelExt as _;
use kube_cel::cel::objects::{Key, Map, OptionalValue};
use kube_cel::cel::parser::Parser;
use kube_cel::cel::{Context, Value as Theirs};
use serde_json::Value;

mod definitions;
mod expressions;
mod objects;
mod rules;

/// How an expression came out in each evaluator: a value as text, or a failure.
#[derive(Debug)]
struct Outcome {
    ours: Result<String, String>,
    theirs: Result<String, String>,
}

impl Outcome {
    fn agrees(&self) -> bool {
        match (&self.ours, &self.theirs) {
            (Ok(ours), Ok(theirs)) => ours == theirs,
            (Err(_), Err(_)) => true,
            _ => false,
        }
    }
}

/// The same value in their form; `None` for what they have no form for.
fn to_theirs(value: &Val<'_>) -> Option<Theirs> {
    Some(match value {
        Val::Null => Theirs::Null,
        Val::Bool(flag) => Theirs::Bool(*flag),
        Val::Int(number) => Theirs::Int(*number),
        Val::Uint(number) => Theirs::UInt(*number),
        Val::Double(number) => Theirs::Float(*number),
        Val::String(text) => Theirs::String(Arc::new(text.to_string())),
        Val::Bytes(bytes) => Theirs::Bytes(Arc::new(bytes.to_vec())),
        Val::Duration(span) => computed("duration(a)", format!("{}ns", span.as_nanos()))?,
        Val::Timestamp(time) => computed("timestamp(a)", time.to_string())?,
        Val::Array(..) | Val::List(_) => {
            Theirs::List(Arc::new(value.items().ok()?.iter().map(to_theirs).collect::<Option<_>>()?))
        }
        Val::Object(_, declared) => {
            // The server's fields go by names that expressions can write, the keys of maps by their own.
            let fields = declared.is_some_and(|declared| !declared.is_map());
            let entries = value.entries().ok()?.into_iter().filter_map(|(key, value)| {
                let Val::String(key) = key else { return Some(None) };
                let key = if fields { escape(&key)? } else { key.into_owned() };
                Some(to_theirs(&value).map(|value| (Key::from(key), value)))
            });
            Theirs::Map(Map { map: Arc::new(entries.collect::<Option<_>>()?) })
        }
        Val::Map(entries) => {
            let entries = entries.iter().map(|(key, value)| Some((to_key(key)?, to_theirs(value)?)));
            Theirs::Map(Map { map: Arc::new(entries.collect::<Option<_>>()?) })
        }
        Val::Optional(inner) => Theirs::Opaque(Arc::new(match inner {
            Some(inner) => OptionalValue::of(to_theirs(inner)?),
            None => OptionalValue::none(),
        })),
        Val::Foreign(value) => value.clone(),
        Val::Type(_) => return None,
    })
}

fn to_key(key: &Val<'_>) -> Option<Key> {
    Some(match key {
        Val::Int(number) => Key::from(*number),
        Val::Uint(number) => Key::from(*number),
        Val::Bool(flag) => Key::from(*flag),
        Val::String(text) => Key::from(text.to_string()),
        _ => return None,
    })
}

fn computed(source: &str, text: String) -> Option<Theirs> {
    let mut context = Context::default();
    context.add_variable_from_value("a", text);
    Theirs::resolve(&parse(source).ok()?, &context).ok()
}

fn parse(source: &str) -> Result<kube_cel::cel::IdedExpr, String> {
    // No limit of theirs: the server's own is the checker's.
    let parser = Parser::new().enable_optional_syntax(true).max_recursion_depth(u16::MAX);
    parser.parse(source).map_err(|errors| errors.to_string())
}

/// Text that is the same for equal values: keys of maps sorted, all NaN alike.
fn shown(value: &Theirs) -> String {
    match value {
        Theirs::List(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(",")),
        Theirs::Map(map) => {
            let mut entries: Vec<String> =
                map.map.iter().map(|(key, value)| format!("{key:?}:{}", shown(value))).collect();
            entries.sort();
            format!("{{{}}}", entries.join(","))
        }
        other => format!("{other:?}"),
    }
}

/// Runs an expression in both; `None` where ours does not compile it, or theirs has no form for a value.
fn both(source: &str, declared: Declared<'_>, object: &Value, old: Option<&Value>, optional: bool) -> Option<Outcome> {
    let kind = declared.kind().unwrap_or(Type::Dyn);
    let old_kind = if optional { Type::Optional(Box::new(kind.clone())) } else { kind.clone() };
    let variables = [
        Variable { name: "self", kind, declared: Some(declared) },
        Variable { name: "oldSelf", kind: old_kind, declared: Some(declared) },
    ];
    let checked = check::compile(source, &variables).ok()?;
    let current = Val::of(object, Some(declared)).ok()?;
    let old = old.map(|old| Val::of(old, Some(declared))).transpose().ok()?;
    let old = if optional { Some(Val::Optional(old.map(Arc::new))) } else { old };
    let mut context = Context::default().with_all();
    context.add_variable_from_value("self", to_theirs(&current)?);
    if let Some(old) = &old {
        context.add_variable_from_value("oldSelf", to_theirs(old)?);
    }
    let ours = match eval::run(&checked.expr, &[Some(current), old]) {
        Ok(value) => Ok(shown(&to_theirs(&value)?)),
        Err(why) => Err(why),
    };
    let theirs = parse(source)
        .and_then(|expression| Theirs::resolve(&expression, &context).map_err(|error| error.to_string()))
        .map(|value| shown(&value));
    Some(Outcome { ours, theirs })
}
