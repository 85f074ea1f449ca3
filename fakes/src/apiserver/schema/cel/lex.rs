//! The CEL lexer: names, literals and symbols, each with its place in the source.

use super::parse::SyntaxError;

/// One token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Name(String),
    Quoted(String),
    Int(String),
    Uint(String),
    Float(String),
    Text(String),
    Bytes(Vec<u8>),
    Symbol(&'static str),
    End,
}

const SYMBOLS: [&str; 26] = [
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "%", "!", "?", ":", ",", ".", "[", "]", "(", ")",
    "{", "}", "=", ";",
];

/// A token, where it starts (in characters) and how it is written.
pub(super) struct Placed {
    pub(super) token: Token,
    pub(super) offset: usize,
    pub(super) text: String,
}

/// The tokens of a source; the last one is [`Token::End`].
///
/// # Errors
/// The first character that begins no token.
pub(super) fn lex(source: &str) -> Result<Vec<Placed>, SyntaxError> {
    let characters: Vec<char> = source.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < characters.len() {
        let character = characters[at];
        if character.is_whitespace() {
            at += 1;
            continue;
        }
        if characters[at..].starts_with(&['/', '/']) {
            while at < characters.len() && characters[at] != '\n' {
                at += 1;
            }
            continue;
        }
        let start = at;
        let token = if let Some((token, end)) = string(&characters, at)? {
            at = end;
            token
        } else if character.is_ascii_alphabetic() || character == '_' {
            while at < characters.len() && (characters[at].is_ascii_alphanumeric() || characters[at] == '_') {
                at += 1;
            }
            Token::Name(characters[start..at].iter().collect())
        } else if character.is_ascii_digit()
            || character == '.' && characters.get(at + 1).is_some_and(char::is_ascii_digit)
        {
            let (token, end) = digits(&characters, at);
            at = end;
            token
        } else if character == '`' {
            at += 1;
            while at < characters.len() && characters[at] != '`' {
                at += 1;
            }
            at += 1;
            Token::Quoted(characters[start + 1..(at - 1).min(characters.len())].iter().collect())
        } else {
            let symbol = SYMBOLS.into_iter().find(|symbol| {
                let symbol: Vec<char> = symbol.chars().collect();
                characters[at..].starts_with(&symbol)
            });
            let Some(symbol) = symbol else {
                let message = format!("Syntax error: token recognition error at: '{character}'");
                return Err(SyntaxError { offset: at, message });
            };
            at += symbol.len();
            Token::Symbol(symbol)
        };
        let text = characters[start..at.min(characters.len())].iter().collect();
        tokens.push(Placed { token, offset: start, text });
    }
    tokens.push(Placed { token: Token::End, offset: characters.len(), text: String::new() });
    Ok(tokens)
}

fn digits(characters: &[char], start: usize) -> (Token, usize) {
    let mut at = start;
    let run = |at: &mut usize, hex: bool| {
        while characters.get(*at).is_some_and(|c| if hex { c.is_ascii_hexdigit() } else { c.is_ascii_digit() }) {
            *at += 1;
        }
    };
    let mut float = false;
    if characters[start] == '0' && characters.get(start + 1) == Some(&'x') {
        at += 2;
        run(&mut at, true);
    } else {
        run(&mut at, false);
        if characters.get(at) == Some(&'.') && characters.get(at + 1).is_some_and(char::is_ascii_digit) {
            float = true;
            at += 1;
            run(&mut at, false);
        }
        if matches!(characters.get(at), Some('e' | 'E')) {
            let sign = usize::from(matches!(characters.get(at + 1), Some('+' | '-')));
            if characters.get(at + 1 + sign).is_some_and(char::is_ascii_digit) {
                float = true;
                at += 1 + sign;
                run(&mut at, false);
            }
        }
    }
    let text: String = characters[start..at].iter().collect();
    if float {
        return (Token::Float(text), at);
    }
    if matches!(characters.get(at), Some('u' | 'U')) {
        return (Token::Uint(text), at + 1);
    }
    (Token::Int(text), at)
}

/// A string or bytes literal starting at `start`, and where it ends.
fn string(characters: &[char], start: usize) -> Result<Option<(Token, usize)>, SyntaxError> {
    let (mut raw, mut bytes, mut at) = (false, false, start);
    while let Some(prefix) = characters.get(at) {
        match prefix {
            'r' | 'R' if !raw => raw = true,
            'b' | 'B' if !bytes => bytes = true,
            _ => break,
        }
        at += 1;
    }
    let Some(quote @ ('"' | '\'')) = characters.get(at).copied() else { return Ok(None) };
    let triple = characters[at..].starts_with(&[quote, quote, quote]);
    let width = if triple { 3 } else { 1 };
    at += width;
    let mut out: Vec<u8> = Vec::new();
    let push = |out: &mut Vec<u8>, character: char| {
        let mut buffer = [0; 4];
        out.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
    };
    let unrecognised = || {
        let text: String = characters[start..].iter().collect();
        SyntaxError { offset: start, message: format!("Syntax error: token recognition error at: '{text}'") }
    };
    loop {
        let character = *characters.get(at).ok_or_else(unrecognised)?;
        if character == quote && (!triple || characters[at..].starts_with(&[quote, quote, quote])) {
            at += width;
            break;
        }
        if character == '\n' && !triple {
            return Err(unrecognised());
        }
        if character != '\\' || raw {
            push(&mut out, character);
            at += 1;
            continue;
        }
        let escaped = *characters.get(at + 1).ok_or_else(unrecognised)?;
        at += 2;
        let length = match escaped {
            'x' | 'X' => 2,
            'u' => 4,
            'U' => 8,
            '0'..='3' => 3,
            _ => 0,
        };
        if length == 0 {
            let plain = match escaped {
                'a' => '\u{7}',
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'v' => '\u{b}',
                '\\' | '\'' | '"' | '`' | '?' => escaped,
                _ => return Err(unrecognised()),
            };
            push(&mut out, plain);
            continue;
        }
        let from = if length == 3 { at - 1 } else { at };
        let text: String = characters.get(from..from + length).ok_or_else(unrecognised)?.iter().collect();
        let code = u32::from_str_radix(&text, if length == 3 { 8 } else { 16 }).map_err(|_| unrecognised())?;
        at = from + length;
        match u8::try_from(code) {
            Ok(byte) if bytes && length <= 3 => out.push(byte),
            _ => push(&mut out, char::from_u32(code).ok_or_else(unrecognised)?),
        }
    }
    let token =
        if bytes { Token::Bytes(out) } else { Token::Text(String::from_utf8(out).map_err(|_| unrecognised())?) };
    Ok(Some((token, at)))
}
