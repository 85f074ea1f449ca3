//! Which line of a YAML text a field stands on: good enough for people, by indentation alone. What is written in flow
//! style counts as the line of the field that holds it.

/// Every field of block style with its 1-based line, in order.
pub(super) fn outline(text: &str) -> Vec<(String, usize)> {
    let mut open: Vec<Open> = Vec::new();
    let mut fields = Vec::new();
    let mut scalar: Option<usize> = None;
    for (number, line) in text.lines().enumerate() {
        let mut rest = line.trim_start();
        let mut indent = line.len() - rest.len();
        if rest.is_empty() || rest.starts_with('#') {
            continue;
        }
        match scalar {
            Some(outside) if indent > outside => continue,
            _ => scalar = None,
        }
        while let Some(item) = rest.strip_prefix("- ").or((rest == "-").then_some("")) {
            // A list may stand at the indent of the key that holds it.
            while open.last().is_some_and(|last| last.indent > indent) {
                open.pop();
            }
            match open.last_mut() {
                Some(Open { indent: at, item: Some(index), .. }) if *at == indent => *index += 1,
                _ => {
                    let path = path(&open);
                    open.push(Open { indent, path, item: Some(0) });
                }
            }
            fields.push((path(&open), number + 1));
            let inner = item.trim_start();
            indent += rest.len() - inner.len();
            rest = inner;
        }
        let Some((key, value)) = key(rest) else { continue };
        while open.last().is_some_and(|last| last.indent >= indent) {
            open.pop();
        }
        let parent = path(&open);
        let path = if parent.is_empty() { key.to_string() } else { format!("{parent}.{key}") };
        fields.push((path.clone(), number + 1));
        open.push(Open { indent, path, item: None });
        if value.starts_with('|') || value.starts_with('>') {
            scalar = Some(indent);
        }
    }
    fields
}

/// The line of a field as validation names it, or of the nearest field that holds it.
pub(super) fn line_of(outline: &[(String, usize)], field: &str) -> Option<usize> {
    let mut wanted = field;
    loop {
        if let Some((_, line)) = outline.iter().find(|(path, _)| path == wanted) {
            return Some(*line);
        }
        wanted = &wanted[..wanted.rfind(['.', '['])?];
    }
}

/// A field or a list whose inside may follow.
struct Open {
    indent: usize,
    path: String,
    item: Option<usize>,
}

fn path(open: &[Open]) -> String {
    match open.last() {
        Some(Open { path, item: Some(index), .. }) => format!("{path}[{index}]"),
        Some(Open { path, .. }) => path.clone(),
        None => String::new(),
    }
}

/// `key: value`, the key without quotes.
fn key(text: &str) -> Option<(&str, &str)> {
    let (key, value) = match text.chars().next()? {
        quote @ ('"' | '\'') => {
            let (key, rest) = text[1..].split_once(quote)?;
            (key, rest.trim_start().strip_prefix(':')?)
        }
        _ => text.split_once(':')?,
    };
    let plain = !key.contains(['{', '[', '#']);
    (plain && (value.is_empty() || value.starts_with([' ', '\t']))).then(|| (key.trim_end(), value.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_where_they_stand() {
        let text = "\
# a comment
metadata:
  name: files   # not a field: x
spec:
  text: |
    inner: no
  list:
  - a: 1
    b:
      - deep: 2
      -
        deep: 3
  - c: {flow: 4}
  \"quoted\": 5
  last: http://x:1
";
        let outline = outline(text);
        let lines: Vec<_> = [
            "metadata.name",
            "spec.text",
            "spec.text.inner",
            "spec.list[0].a",
            "spec.list[0].b[0].deep",
            "spec.list[0].b[1].deep",
            "spec.list[1].c.flow",
            "spec.quoted",
            "spec.last",
            "nowhere",
        ]
        .map(|field| line_of(&outline, field))
        .into();
        let expected = [Some(3), Some(5), Some(5), Some(8), Some(10), Some(12), Some(13), Some(14), Some(15), None];
        assert_eq!(lines, expected, "{outline:?}");
    }
}
