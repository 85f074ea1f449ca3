//! Label and field selectors of lists, watches and deletecollection.

use serde_json::Value;

use super::errors::{Outcome, Status};
use super::request::Query;
use super::resource::Resource;

/// Which objects of a collection are meant.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<FieldTerm>,
}

#[derive(Clone, Debug)]
struct Requirement {
    key: String,
    operator: Operator,
    values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    In,
    NotIn,
    Exists,
    Absent,
    GreaterThan,
    LessThan,
}

#[derive(Clone, Debug)]
struct FieldTerm {
    path: String,
    equal: bool,
    value: String,
}

impl Selector {
    /// Reads `labelSelector` and `fieldSelector`.
    ///
    /// # Errors
    /// 400 with the parser's message or for a field that the kind does not offer.
    pub fn parse(query: &Query, resource: &Resource) -> Outcome<Selector> {
        let labels = parse_labels(query.get("labelSelector").unwrap_or_default())
            .map_err(|error| Status::bad_request(format!("unable to parse requirement: {error}")))?;
        let fields = parse_fields(query.get("fieldSelector").unwrap_or_default())?;
        for term in &fields {
            let known = matches!(term.path.as_str(), "metadata.name" | "metadata.namespace")
                || resource.selectable_fields.contains(&term.path);
            if !known && resource.custom.is_none() && resource.selectable_fields.is_empty() {
                let message = format!(
                    "{:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
                    term.path
                );
                return Err(Status::bad_request(message));
            }
            if !known {
                return Err(Status::bad_request(format!("field label not supported: {}", term.path)));
            }
        }
        Ok(Selector { labels, fields })
    }

    /// Selects everything.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// The single name that is asked for, if any.
    pub fn name(&self) -> Option<&str> {
        self.fields.iter().find(|term| term.equal && term.path == "metadata.name").map(|term| term.value.as_str())
    }

    /// Whether an object is selected.
    pub fn matches(&self, object: &Value) -> bool {
        self.labels.iter().all(|requirement| requirement.matches(&object["metadata"]["labels"]))
            && self.fields.iter().all(|term| (field_text(object, &term.path) == term.value) == term.equal)
    }
}

impl Requirement {
    fn matches(&self, labels: &Value) -> bool {
        let value = labels.get(&self.key).and_then(Value::as_str);
        match self.operator {
            Operator::Exists => value.is_some(),
            Operator::Absent => value.is_none(),
            Operator::In => value.is_some_and(|value| self.values.iter().any(|wanted| wanted == value)),
            Operator::NotIn => value.is_none_or(|value| self.values.iter().all(|unwanted| unwanted != value)),
            Operator::GreaterThan | Operator::LessThan => {
                let number = value.and_then(|value| value.parse::<i64>().ok());
                let bound = self.values.first().and_then(|value| value.parse::<i64>().ok());
                number.zip(bound).is_some_and(|(number, bound)| match self.operator {
                    Operator::GreaterThan => number > bound,
                    _ => number < bound,
                })
            }
        }
    }
}

/// The text of a field for a selector; missing fields are empty.
fn field_text(object: &Value, path: &str) -> String {
    let mut value = object;
    for part in path.split('.') {
        value = &value[part];
    }
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => super::json::to_string(other),
    }
}

fn parse_fields(text: &str) -> Outcome<Vec<FieldTerm>> {
    let mut terms = Vec::new();
    for part in split_unescaped(text) {
        let found = part.find('=').map(|at| {
            let equal = !part[..at].ends_with('!');
            let path = part[..at].strip_suffix('!').unwrap_or(&part[..at]);
            let value = part[at + 1..].strip_prefix('=').filter(|_| equal).unwrap_or(&part[at + 1..]);
            FieldTerm {
                path: path.to_owned(),
                equal,
                value: value.replace("\\,", ",").replace("\\=", "=").replace("\\\\", "\\"),
            }
        });
        match found {
            Some(term) => terms.push(term),
            None => {
                let why = format!("invalid selector: '{part}'; can't understand '{part}'");
                return Err(Status::bad_request(why));
            }
        }
    }
    Ok(terms)
}

fn split_unescaped(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'\\' if !escaped => {
                escaped = true;
                continue;
            }
            b',' if !escaped => {
                parts.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
        escaped = false;
    }
    parts.push(&text[start..]);
    parts.retain(|part| !part.is_empty());
    parts
}

/// Tokens of the label selector grammar.
#[derive(Debug, PartialEq, Eq, Clone)]
enum Token {
    Word(String),
    Sign(&'static str),
    End,
}

struct Tokens {
    all: Vec<Token>,
    at: usize,
}

impl Tokens {
    fn new(text: &str) -> Tokens {
        let mut all = Vec::new();
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let sign = ["!=", "==", "=", "!", "(", ")", ",", ">", "<"].into_iter().find(|sign| rest.starts_with(sign));
            if let Some(sign) = sign {
                all.push(Token::Sign(sign));
                rest = rest[sign.len()..].trim_start();
            } else {
                let end = rest.find(|c: char| c.is_whitespace() || "!=(),><".contains(c)).unwrap_or(rest.len());
                all.push(Token::Word(rest[..end].to_owned()));
                rest = rest[end..].trim_start();
            }
        }
        all.push(Token::End);
        Tokens { all, at: 0 }
    }

    fn peek(&self) -> &Token {
        &self.all[self.at]
    }

    fn next(&mut self) -> Token {
        let token = self.all[self.at].clone();
        self.at = (self.at + 1).min(self.all.len() - 1);
        token
    }
}

fn found(token: &Token) -> &str {
    match token {
        Token::Word(word) => word,
        Token::Sign(sign) => sign,
        Token::End => "",
    }
}

fn parse_labels(text: &str) -> Result<Vec<Requirement>, String> {
    let mut tokens = Tokens::new(text);
    let mut requirements = Vec::new();
    if *tokens.peek() == Token::End {
        return Ok(requirements);
    }
    loop {
        requirements.push(requirement(&mut tokens)?);
        match tokens.next() {
            Token::End => return Ok(requirements),
            Token::Sign(",") if *tokens.peek() != Token::End => {}
            Token::Sign(",") => return Err("found '', expected: identifier after ','".to_owned()),
            other => return Err(format!("found '{}', expected: ',' or 'end of string'", found(&other))),
        }
    }
}

fn requirement(tokens: &mut Tokens) -> Result<Requirement, String> {
    let absent = *tokens.peek() == Token::Sign("!");
    if absent {
        tokens.next();
    }
    let Token::Word(key) = tokens.next() else {
        let at = found(&tokens.all[tokens.at.saturating_sub(1)]).to_owned();
        return Err(format!("found '{at}', expected: !, identifier, or 'end of string'"));
    };
    check_key(&key)?;
    let make = |operator, values| Requirement { key: key.clone(), operator, values };
    if absent || matches!(tokens.peek(), Token::End | Token::Sign(",")) {
        return Ok(make(if absent { Operator::Absent } else { Operator::Exists }, Vec::new()));
    }
    let operator = match tokens.next() {
        Token::Sign("=" | "==") => Operator::In,
        Token::Sign("!=") => Operator::NotIn,
        Token::Sign(">") => Operator::GreaterThan,
        Token::Sign("<") => Operator::LessThan,
        Token::Word(word) if word == "in" => return Ok(make(Operator::In, set(tokens, &key)?)),
        Token::Word(word) if word == "notin" => return Ok(make(Operator::NotIn, set(tokens, &key)?)),
        other => return Err(format!("found '{}', expected: in, notin, =, ==, !=, gt, lt", found(&other))),
    };
    let value = match tokens.peek() {
        Token::Word(_) => found(&tokens.next()).to_owned(),
        Token::End | Token::Sign(",") => String::new(),
        other => return Err(format!("found '{}', expected: identifier", found(other))),
    };
    if matches!(operator, Operator::GreaterThan | Operator::LessThan) && value.parse::<i64>().is_err() {
        return Err(format!(
            "values[0][{key}]: Invalid value: {value:?}: for 'Gt', 'Lt' operators, the value must be an integer"
        ));
    }
    check_value(&key, 0, &value)?;
    Ok(make(operator, vec![value]))
}

fn set(tokens: &mut Tokens, key: &str) -> Result<Vec<String>, String> {
    match tokens.next() {
        Token::Sign("(") => {}
        other => return Err(format!("found '{}' expected: '('", found(&other))),
    }
    let mut values = Vec::new();
    let mut word_next = true;
    loop {
        match tokens.next() {
            Token::Word(word) if word_next => {
                check_value(key, values.len(), &word)?;
                values.push(word);
                word_next = false;
            }
            Token::Sign(",") if word_next => values.push(String::new()),
            Token::Sign(",") => word_next = true,
            Token::Sign(")") => {
                if word_next {
                    values.push(String::new());
                }
                values.sort();
                values.dedup();
                return Ok(values);
            }
            other => return Err(format!("found '{}', expected: ',', or ')'", found(&other))),
        }
    }
}

fn check_key(key: &str) -> Result<(), String> {
    let problems = super::meta::qualified_name_problems(key);
    match problems.first() {
        Some(problem) => Err(format!("<nil>: Invalid value: {key:?}: {problem}")),
        None => Ok(()),
    }
}

fn check_value(key: &str, index: usize, value: &str) -> Result<(), String> {
    match super::meta::label_value_problems(value).first() {
        Some(problem) => Err(format!("values[{index}][{key}]: Invalid value: {value:?}: {problem}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn labels_match(selector: &str, labels: Value) -> bool {
        let labels_only = Selector { labels: parse_labels(selector).expect(selector), fields: Vec::new() };
        labels_only.matches(&json!({ "metadata": { "labels": labels } }))
    }

    #[test]
    fn conf_i10_label_selectors() {
        for (selector, yes, no) in [
            ("a=1", json!({"a":"1"}), json!({"a":"2"})),
            ("a==1,b", json!({"a":"1","b":""}), json!({"a":"1"})),
            ("a!=1", json!({}), json!({"a":"1"})),
            ("a in (1, 2)", json!({"a":"2"}), json!({"a":"3"})),
            ("a notin (1,2)", json!({}), json!({"a":"2"})),
            ("!a", json!({"b":"1"}), json!({"a":""})),
            ("a=", json!({"a":""}), json!({"a":"1"})),
            ("a>3", json!({"a":"10"}), json!({"a":"x"})),
        ] {
            assert!(labels_match(selector, yes), "{selector}");
            assert!(!labels_match(selector, no), "{selector}");
        }
        for wrong in ["a in 1", "a=1,", "a=(", "=1", "-a", "a in (1"] {
            assert!(parse_labels(wrong).is_err(), "{wrong}");
        }
    }
}
