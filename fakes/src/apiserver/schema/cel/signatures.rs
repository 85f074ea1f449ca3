//! Which functions there are, what they take and give.
//!
//! The tables are the declarations of the CEL standard environment and of the libraries that Kubernetes adds for
//! validation rules: strings, lists, regular expressions, URLs, quantities, IP addresses, formats, semantic versions,
//! sets, optional values.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::types::Type;

/// One overload.
#[derive(Debug)]
pub struct Overload {
    /// Whether it is written `target.name(…)`; the target is then the first parameter.
    pub member: bool,
    /// Types of the parameters.
    pub parameters: Vec<Type<'static>>,
    /// Type of the result.
    pub result: Type<'static>,
}

/// The overloads of a function, in order of declaration.
pub fn overloads(name: &str) -> Option<&'static [Overload]> {
    TABLE.get(name).map(Vec::as_slice)
}

static TABLE: LazyLock<BTreeMap<&'static str, Vec<Overload>>> = LazyLock::new(|| {
    let mut table: BTreeMap<&'static str, Vec<Overload>> = BTreeMap::new();
    for (names, overloads) in DECLARATIONS {
        for name in names.split(' ') {
            let list = table.entry(name).or_default();
            list.extend(overloads.split(';').map(|text| parse(text.trim())));
        }
    }
    table
});

/// Names, separated by spaces, and their overloads: `target.(arguments)->result` or `(arguments)->result`.
///
/// `b i u d s y` are bool, int, uint, double, string, bytes; `D T` duration and timestamp; `*` dynamic; `A B` variables;
/// `[A]` a list, `{A:B}` a map, `?A` an optional; `q ip cidr url fmt ver` library types.
const DECLARATIONS: &[(&str, &str)] = &[
    ("_==_ _!=_", "(A,A)->b"),
    (
        "_<_ _<=_ _>_ _>=_",
        "(b,b)->b;(i,i)->b;(i,d)->b;(i,u)->b;(u,u)->b;(u,d)->b;(u,i)->b;(d,d)->b;(d,i)->b;(d,u)->b;(s,s)->b;(y,y)->b;(T,T)->b;(D,D)->b",
    ),
    ("_+_", "(i,i)->i;(u,u)->u;(d,d)->d;(s,s)->s;(y,y)->y;([A],[A])->[A];(D,D)->D;(T,D)->T;(D,T)->T"),
    ("_-_", "(i,i)->i;(u,u)->u;(d,d)->d;(D,D)->D;(T,D)->T;(T,T)->D"),
    ("_*_ _/_", "(i,i)->i;(u,u)->u;(d,d)->d"),
    ("_%_", "(i,i)->i;(u,u)->u"),
    ("-_", "(i)->i;(d)->d"),
    ("!_", "(b)->b"),
    ("_&&_ _||_", "(b,b)->b"),
    ("_?_:_", "(b,A,A)->A"),
    ("_[_]", "([A],i)->A;({A:B},A)->B"),
    ("_[?_]", "([A],i)->?A;({A:B},A)->?B;(?[A],i)->?A;(?{A:B},A)->?B"),
    ("@in", "(A,[A])->b;(A,{A:B})->b"),
    ("size", "(s)->i;(y)->i;([A])->i;({A:B})->i;s.()->i;y.()->i;[A].()->i;{A:B}.()->i"),
    ("contains startsWith endsWith", "s.(s)->b"),
    ("matches", "s.(s)->b;(s,s)->b"),
    ("int", "(i)->i;(u)->i;(d)->i;(s)->i;(T)->i"),
    ("uint", "(u)->u;(i)->u;(d)->u;(s)->u"),
    ("double", "(d)->d;(i)->d;(u)->d;(s)->d"),
    ("string", "(s)->s;(b)->s;(i)->s;(u)->s;(d)->s;(y)->s;(T)->s;(D)->s;(ip)->s;(cidr)->s"),
    ("bool", "(b)->b;(s)->b"),
    ("bytes", "(y)->y;(s)->y"),
    ("duration", "(D)->D;(s)->D"),
    ("timestamp", "(T)->T;(s)->T;(i)->T"),
    ("type", "(A)->t"),
    ("dyn", "(A)->*"),
    ("getFullYear getMonth getDayOfYear getDayOfMonth getDate getDayOfWeek", "T.()->i;T.(s)->i"),
    ("getHours getMinutes getSeconds getMilliseconds", "T.()->i;T.(s)->i;D.()->i"),
    ("charAt", "s.(i)->s"),
    ("indexOf lastIndexOf", "s.(s)->i;s.(s,i)->i;[A].(A)->i"),
    ("lowerAscii upperAscii trim", "s.()->s"),
    ("reverse", "s.()->s;[A].()->[A]"),
    ("replace", "s.(s,s)->s;s.(s,s,i)->s"),
    ("split", "s.(s)->[s];s.(s,i)->[s]"),
    ("substring", "s.(i)->s;s.(i,i)->s"),
    ("join", "[s].()->s;[s].(s)->s"),
    ("format", "s.([*])->s"),
    ("strings.quote", "(s)->s"),
    ("isSorted", "[i].()->b;[u].()->b;[d].()->b;[b].()->b;[s].()->b;[y].()->b;[D].()->b;[T].()->b"),
    ("sum", "[i].()->i;[u].()->u;[d].()->d;[D].()->D"),
    ("min max", "[i].()->i;[u].()->u;[d].()->d;[b].()->b;[s].()->s;[y].()->y;[D].()->D;[T].()->T"),
    ("find", "s.(s)->s"),
    ("findAll", "s.(s)->[s];s.(s,i)->[s]"),
    ("sets.contains sets.equivalent sets.intersects", "([A],[A])->b"),
    ("url", "(s)->url"),
    ("isURL", "(s)->b"),
    ("getScheme getHost getHostname getPort getEscapedPath", "url.()->s"),
    ("getQuery", "url.()->{s:[s]}"),
    ("quantity", "(s)->q"),
    ("isQuantity", "(s)->b"),
    ("sign asInteger", "q.()->i"),
    ("isInteger", "q.()->b"),
    ("asApproximateFloat", "q.()->d"),
    ("add sub", "q.(q)->q;q.(i)->q"),
    ("isLessThan isGreaterThan", "q.(q)->b;ver.(ver)->b"),
    ("compareTo", "q.(q)->i;ver.(ver)->i"),
    ("ip", "(s)->ip;cidr.()->ip"),
    ("isIP isCIDR", "(s)->b"),
    ("ip.isCanonical", "(s)->b"),
    ("family", "ip.()->i"),
    ("isUnspecified isLoopback isLinkLocalMulticast isLinkLocalUnicast isGlobalUnicast", "ip.()->b"),
    ("cidr", "(s)->cidr"),
    ("containsIP", "cidr.(ip)->b;cidr.(s)->b"),
    ("containsCIDR", "cidr.(cidr)->b;cidr.(s)->b"),
    ("masked", "cidr.()->cidr"),
    ("prefixLength", "cidr.()->i"),
    ("format.named", "(s)->?fmt"),
    (
        "format.dns1123Label format.dns1123Subdomain format.dns1035Label format.qualifiedName format.dns1123LabelPrefix format.dns1123SubdomainPrefix format.dns1035LabelPrefix format.labelValue format.uri format.uuid format.byte format.date format.datetime",
        "()->fmt",
    ),
    ("validate", "fmt.(s)->?[s]"),
    ("semver", "(s)->ver;(s,b)->ver"),
    ("isSemver", "(s)->b;(s,b)->b"),
    ("major minor patch", "ver.()->i"),
    ("optional.of optional.ofNonZeroValue", "(A)->?A"),
    ("optional.none", "()->?A"),
    ("hasValue", "?A.()->b"),
    ("value", "?A.()->A"),
    ("or", "?A.(?A)->?A"),
    ("orValue", "?A.(A)->A"),
];

fn parse(text: &str) -> Overload {
    let (parameters, result) = text.split_once("->").unwrap_or((text, "*"));
    let (target, arguments) = match parameters.strip_suffix(')').unwrap_or(parameters).split_once(".(") {
        Some((target, arguments)) => (Some(target), arguments),
        None => (None, parameters.trim_start_matches('(').trim_end_matches(')')),
    };
    let mut types: Vec<Type<'static>> = target.into_iter().map(kind).collect();
    let mut depth = 0;
    let mut start = 0;
    for (index, character) in arguments.char_indices() {
        match character {
            '[' | '{' => depth += 1,
            ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                types.push(kind(&arguments[start..index]));
                start = index + 1;
            }
            _ => {}
        }
    }
    if start < arguments.len() {
        types.push(kind(&arguments[start..]));
    }
    Overload { member: target.is_some(), parameters: types, result: kind(result) }
}

fn kind(text: &str) -> Type<'static> {
    if let Some(inner) = text.strip_prefix('?') {
        return Type::Optional(Box::new(kind(inner)));
    }
    if let Some(inner) = text.strip_prefix('[') {
        return Type::List(Box::new(kind(inner.trim_end_matches(']'))));
    }
    if let Some((key, value)) = text.strip_prefix('{').and_then(|inner| inner.split_once(':')) {
        return Type::Map(Box::new(kind(key)), Box::new(kind(value.strip_suffix('}').unwrap_or(value))));
    }
    match text {
        "b" => Type::Bool,
        "i" => Type::Int,
        "u" => Type::Uint,
        "d" => Type::Double,
        "s" => Type::String,
        "y" => Type::Bytes,
        "D" => Type::Duration,
        "T" => Type::Timestamp,
        "t" => Type::Type,
        "A" => Type::Variable(0),
        "B" => Type::Variable(1),
        "q" => Type::Opaque("kubernetes.Quantity"),
        "ip" => Type::Opaque("net.IP"),
        "cidr" => Type::Opaque("net.CIDR"),
        "url" => Type::Opaque("kubernetes.URL"),
        "fmt" => Type::Opaque("kubernetes.NamedFormat"),
        "ver" => Type::Opaque("kubernetes.Semver"),
        _ => Type::Dyn,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_read_as_written() {
        let shown = |name: &str| -> Vec<String> {
            overloads(name)
                .unwrap_or_default()
                .iter()
                .map(|overload| {
                    let parameters: Vec<String> = overload.parameters.iter().map(ToString::to_string).collect();
                    format!("{} {} {}", overload.member, parameters.join(","), overload.result)
                })
                .collect()
        };
        assert_eq!(shown("split"), ["true string,string list(string)", "true string,string,int list(string)"]);
        assert_eq!(shown("getQuery"), ["true kubernetes.URL map(string, list(string))"]);
        assert_eq!(shown("_[?_]")[3], "false optional_type(map(A, B)),A optional_type(B)");
        assert_eq!(shown("optional.none"), ["false  optional_type(A)"]);
    }
}
