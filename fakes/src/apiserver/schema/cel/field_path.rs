//! Paths into a schema as `fieldPath` and selectable fields write them: `.spec.size`, `['a.b']`.

use crate::apiserver::schema::node::Node;

/// The path as errors print it, and the node it ends at; else why it does not exist.
pub fn resolve<'a>(path: &str, root: &'a Node, brackets: bool) -> Result<(String, &'a Node), String> {
    let mut tokens = tokens(path).into_iter();
    let mut node = root;
    let mut printed = String::new();
    while let Some(token) = tokens.next() {
        let end = || "unexpected end of JSON path".to_owned();
        let name = match token {
            "." => tokens.next().ok_or_else(end)?.to_owned(),
            "[" if !brackets => return Err("array notation is not allowed".to_owned()),
            "[" => {
                let quoted = tokens.next().ok_or_else(end)?;
                let inner = quoted
                    .strip_prefix('\'')
                    .and_then(|rest| rest.strip_suffix('\''))
                    .ok_or_else(|| format!("expected single quoted string but got {quoted}"))?;
                match tokens.next().ok_or_else(end)? {
                    "]" => inner.replace("\\'", "'").replace("\\\\", "\\"),
                    other => return Err(format!("expected ] but got {other}")),
                }
            }
            other => return Err(format!("expected [ or . but got: {other}")),
        };
        let missing = || "does not refer to a valid field".to_owned();
        if !node.properties.is_empty() {
            node = node.properties.get(&name).ok_or_else(missing)?;
            if !printed.is_empty() {
                printed.push('.');
            }
            printed.push_str(&name);
        } else {
            node = node.additional.as_ref().ok_or_else(missing)?;
            printed.push_str(&format!("[{name}]"));
        }
    }
    Ok((printed, node))
}

/// Splits at `.`, `[` and `]`, which are tokens themselves; quoted parts stay whole.
fn tokens(path: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        let length = if rest.starts_with(['.', '[', ']']) {
            1
        } else if rest.starts_with('\'') {
            let mut escaped = true;
            rest.char_indices()
                .find(|(_, character)| {
                    let closes = *character == '\'' && !escaped;
                    escaped = *character == '\\';
                    closes
                })
                .map_or(rest.len(), |(index, _)| index + 1)
        } else {
            rest.find(['.', '[', ']']).unwrap_or(rest.len())
        };
        out.push(&rest[..length]);
        rest = &rest[length..];
    }
    out
}
