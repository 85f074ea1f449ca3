//! The simple JSONPath of `additionalPrinterColumns`: fields, quoted fields, indices, `[*]`, and `[?(@.a=="b")]` filters.

use serde_json::Value;

enum Step {
    Field(String),
    Index(i64),
    All,
    Where(Vec<String>, Value),
}

/// Values at the path, in order. A path that cannot be read finds nothing.
pub(super) fn find<'a>(path: &str, root: &'a Value) -> Vec<&'a Value> {
    let Some(steps) = parse(path) else { return Vec::new() };
    let mut found = vec![root];
    for step in &steps {
        found = found.into_iter().flat_map(|value| apply(step, value)).collect();
    }
    found
}

fn apply<'a>(step: &Step, value: &'a Value) -> Vec<&'a Value> {
    match (step, value) {
        (Step::Field(name), Value::Object(fields)) => fields.get(name).into_iter().collect(),
        (Step::Index(index), Value::Array(items)) => {
            let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
            let index = if *index < 0 { length + index } else { *index };
            usize::try_from(index).ok().and_then(|index| items.get(index)).into_iter().collect()
        }
        (Step::All, Value::Array(items)) => items.iter().collect(),
        (Step::All, Value::Object(fields)) => fields.values().collect(),
        (Step::Where(path, wanted), Value::Array(items)) => {
            let matches = |item: &&Value| path.iter().try_fold(*item, |value, name| value.get(name)) == Some(wanted);
            items.iter().filter(matches).collect()
        }
        _ => Vec::new(),
    }
}

fn parse(path: &str) -> Option<Vec<Step>> {
    let path = path.trim().trim_start_matches('{').trim_end_matches('}');
    let path = path.strip_prefix('$').unwrap_or(path);
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let (selector, tail) = inner.split_at(closing(inner)?);
            steps.push(bracket(selector.trim())?);
            rest = &tail[1..];
        } else {
            let (name, tail) = field(rest.strip_prefix('.').unwrap_or(rest));
            if !name.is_empty() {
                steps.push(if name == "*" { Step::All } else { Step::Field(name) });
            } else if !tail.starts_with('[') && !tail.is_empty() {
                return None;
            }
            rest = tail;
        }
    }
    Some(steps)
}

/// Position of the bracket that closes a selector, outside of quotes.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    for (index, character) in text.char_indices() {
        match (quote, character) {
            (None, ']') => return Some(index),
            (None, '\'' | '"') => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            _ => {}
        }
    }
    None
}

/// A field up to the next separator; `\.` stands for a dot inside a name.
fn field(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut characters = text.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '\\' => name.extend(characters.next().map(|(_, escaped)| escaped)),
            '.' | '[' => return (name, &text[index..]),
            _ => name.push(character),
        }
    }
    (name, "")
}

fn bracket(selector: &str) -> Option<Step> {
    if selector == "*" {
        return Some(Step::All);
    }
    if let Some(name) = unquote(selector) {
        return Some(Step::Field(name.to_owned()));
    }
    if let Some(filter) = selector.strip_prefix("?(").and_then(|rest| rest.strip_suffix(')')) {
        let (left, right) = filter.split_once("==")?;
        let path = left.trim().strip_prefix("@.")?.split('.').map(str::to_owned).collect();
        let right = right.trim();
        let wanted = match unquote(right) {
            Some(text) => Value::String(text.to_owned()),
            None => serde_json::from_str(right).ok()?,
        };
        return Some(Step::Where(path, wanted));
    }
    selector.parse().ok().map(Step::Index)
}

fn unquote(text: &str) -> Option<&str> {
    ['\'', '"'].into_iter().find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_of_printer_columns() {
        let object = json!({
            "metadata": {"labels": {"app.kubernetes.io/name": "n"}},
            "spec": {"size": 1, "pins": [{"name": "q", "n": 1}, {"name": "r", "n": 2}]}
        });
        for (path, expected) in [
            (".spec.size", json!([1])),
            ("{.spec.size}", json!([1])),
            (".spec.pins[0].name", json!(["q"])),
            (".spec.pins[-1].name", json!(["r"])),
            (".spec.pins[*].n", json!([1, 2])),
            (".spec.pins[?(@.name==\"r\")].n", json!([2])),
            (".spec.pins[?(@.n==1)].name", json!(["q"])),
            (".metadata.labels.app\\.kubernetes\\.io/name", json!(["n"])),
            (".metadata.labels['app.kubernetes.io/name']", json!(["n"])),
            (".spec.none.deeper", json!([])),
            (".spec.pins[", json!([])),
        ] {
            assert_eq!(json!(find(path, &object)), expected, "{path}");
        }
    }
}
