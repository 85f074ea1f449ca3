//! Functions of the Kubernetes libraries that are not worth writing again: quantities, URLs, addresses, formats, versions.
//!
//! Their values travel as values of the library; only arguments and results are converted.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use kube_cel::KubeCelExt as _;
use kube_cel::cel::{Context, ExecutionError, Program, Value};

use super::value::{Failure, Val, no_such_overload};

/// Calls `name` of the library.
///
/// # Errors
/// What the function reports, or arguments that it does not take.
pub fn call<'a>(name: &str, args: &[Val<'a>], member: bool) -> Result<Val<'a>, Failure> {
    // Both once per thread, not per process: making them makes hash maps, see format.rs.
    thread_local! {
        static PROGRAMS: RefCell<BTreeMap<String, Rc<Program>>> = const { RefCell::new(BTreeMap::new()) };
        static ROOT: Context<'static> = Context::default().with_all();
    }
    let parameters: Vec<String> = (0..args.len()).map(|index| format!("a{index}")).collect();
    let source = match parameters.split_first() {
        Some((target, rest)) if member => format!("{target}.{name}({})", rest.join(", ")),
        _ => format!("{name}({})", parameters.join(", ")),
    };
    let program = PROGRAMS.with_borrow_mut(|programs| match programs.get(&source) {
        Some(program) => Ok(program.clone()),
        None => {
            let program = Rc::new(Program::compile(&source).map_err(|error| error.to_string())?);
            programs.insert(source, program.clone());
            Ok::<_, String>(program)
        }
    })?;
    ROOT.with(|root| {
        let mut context = root.new_inner_scope();
        for (parameter, value) in parameters.into_iter().zip(args) {
            context.add_variable_from_value(parameter, to_library(value)?);
        }
        match program.execute(&context) {
            Ok(value) => from_library(value),
            Err(ExecutionError::FunctionError { message, .. }) => Err(message),
            Err(error) => Err(error.to_string()),
        }
    })
}

fn to_library(value: &Val<'_>) -> Result<Value, Failure> {
    Ok(match value {
        Val::Null => Value::Null,
        Val::Bool(flag) => Value::Bool(*flag),
        Val::Int(number) => Value::Int(*number),
        Val::Uint(number) => Value::UInt(*number),
        Val::Double(number) => Value::Float(*number),
        Val::String(text) => Value::String(Arc::new(text.to_string())),
        Val::Bytes(bytes) => Value::Bytes(Arc::new(bytes.to_vec())),
        Val::Array(..) | Val::List(_) => {
            Value::List(Arc::new(value.items()?.iter().map(to_library).collect::<Result<_, _>>()?))
        }
        Val::Foreign(inner) => inner.clone(),
        _ => return Err(no_such_overload()),
    })
}

fn from_library<'a>(value: Value) -> Result<Val<'a>, Failure> {
    Ok(match value {
        Value::Null => Val::Null,
        Value::Bool(flag) => Val::Bool(flag),
        Value::Int(number) => Val::Int(number),
        Value::UInt(number) => Val::Uint(number),
        Value::Float(number) => Val::Double(number),
        Value::String(text) => Val::String(Cow::Owned(text.to_string())),
        Value::Bytes(bytes) => Val::Bytes(bytes.as_slice().into()),
        Value::List(items) => Val::list(items.iter().cloned().map(from_library).collect::<Result<_, _>>()?),
        Value::Map(map) => {
            let mut entries = Vec::new();
            for (key, value) in map.map.iter() {
                entries.push((Val::text(key.to_string()), from_library(value.clone())?));
            }
            // The library's map has no order of its own.
            entries.sort_by(|(left, _), (right, _)| left.compare(right).unwrap_or(std::cmp::Ordering::Equal));
            Val::Map(Arc::new(entries))
        }
        Value::Opaque(inner) => match inner.downcast_ref::<kube_cel::cel::objects::OptionalValue>() {
            Some(optional) => Val::Optional(match optional.value() {
                Some(value) => Some(Arc::new(from_library(value.clone())?)),
                None => None,
            }),
            None => Val::Foreign(Value::Opaque(inner)),
        },
        _ => return Err(no_such_overload()),
    })
}
