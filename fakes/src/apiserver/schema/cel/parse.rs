//! The CEL grammar, by recursive descent.
//!
//! Macros stay calls, and every node keeps its place in the source, so that complaints can point at it.

use super::lex::{Placed, Token, lex};
use super::value::Val;

/// A parsed expression.
#[derive(Clone, Debug)]
pub struct Ast {
    /// Where it is in the source, in characters: the operator, bracket or dot that makes it.
    pub offset: usize,
    /// What it is.
    pub kind: AstKind,
}

/// What an expression is. Operators are calls named as CEL names them: `_+_`, `_[_]`, `_?_:_`, `@in`.
#[derive(Clone, Debug)]
pub enum AstKind {
    /// A constant.
    Literal(Val<'static>),
    /// A name.
    Name(String),
    /// `target.field`, or `target.?field` with the flag.
    Select(Box<Ast>, String, bool),
    /// A function or operator, with the target of a member call.
    Call(Option<Box<Ast>>, String, Vec<Ast>),
    /// A list; flagged items are optional.
    List(Vec<(Ast, bool)>),
    /// A map; flagged values are optional.
    Map(Vec<(Ast, Ast, bool)>),
    /// `Type{…}`: no such types exist here.
    Message(String),
}

/// Why a source does not parse.
#[derive(Debug, PartialEq)]
pub struct SyntaxError {
    /// Where, in characters.
    pub offset: usize,
    /// What the server says.
    pub message: String,
}

/// What an expression can start with, as complaints list it.
const STARTS: &str =
    "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";

/// Deepest nesting; the server's limit is of the same size.
const DEPTH: usize = 96;

/// Parses `source`.
///
/// # Errors
/// The first place that fits no rule.
pub fn parse(source: &str) -> Result<Ast, SyntaxError> {
    let mut parser = Parser { tokens: lex(source)?, next: 0, depth: 0 };
    let ast = parser.expression()?;
    if parser.peek() == &Token::End {
        return Ok(ast);
    }
    Err(parser.error(|found| format!("Syntax error: extraneous input {found} expecting <EOF>")))
}

struct Parser {
    tokens: Vec<Placed>,
    next: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.next].token
    }

    fn offset(&self) -> usize {
        self.tokens[self.next].offset
    }

    fn take(&mut self) -> Token {
        let token = self.tokens[self.next].token.clone();
        if self.next + 1 < self.tokens.len() {
            self.next += 1;
        }
        token
    }

    fn accept(&mut self, symbol: &'static str) -> Option<usize> {
        let offset = self.offset();
        (self.peek() == &Token::Symbol(symbol)).then(|| {
            self.take();
            offset
        })
    }

    fn accept_any(&mut self, symbols: &[&'static str]) -> Option<(usize, &'static str)> {
        symbols.iter().find_map(|symbol| self.accept(symbol).map(|offset| (offset, *symbol)))
    }

    fn expect(&mut self, symbol: &'static str) -> Result<usize, SyntaxError> {
        self.accept(symbol)
            .ok_or_else(|| self.error(|found| format!("Syntax error: mismatched input {found} expecting '{symbol}'")))
    }

    fn error(&self, message: impl FnOnce(&str) -> String) -> SyntaxError {
        let placed = &self.tokens[self.next];
        let found = match placed.token {
            Token::End => "'<EOF>'".to_owned(),
            _ => format!("'{}'", placed.text),
        };
        SyntaxError { offset: placed.offset, message: message(&found) }
    }

    fn expression(&mut self) -> Result<Ast, SyntaxError> {
        self.depth += 1;
        if self.depth > DEPTH {
            let offset = self.offset();
            return Err(SyntaxError { offset, message: format!("expression recursion limit exceeded: {DEPTH}") });
        }
        let condition = self.or()?;
        let ast = match self.accept("?") {
            None => condition,
            Some(offset) => {
                let yes = self.or()?;
                self.expect(":")?;
                let no = self.expression()?;
                call(offset, "_?_:_", vec![condition, yes, no])
            }
        };
        self.depth -= 1;
        Ok(ast)
    }

    fn binary(
        &mut self,
        symbols: &[&'static str],
        below: fn(&mut Self) -> Result<Ast, SyntaxError>,
    ) -> Result<Ast, SyntaxError> {
        let mut left = below(self)?;
        while let Some((offset, symbol)) = self.accept_any(symbols) {
            let right = below(self)?;
            left = call(offset, &format!("_{symbol}_"), vec![left, right]);
        }
        Ok(left)
    }

    fn or(&mut self) -> Result<Ast, SyntaxError> {
        self.binary(&["||"], Parser::and)
    }

    fn and(&mut self) -> Result<Ast, SyntaxError> {
        self.binary(&["&&"], Parser::relation)
    }

    fn relation(&mut self) -> Result<Ast, SyntaxError> {
        let mut left = self.sum()?;
        loop {
            let offset = self.offset();
            if self.peek() == &Token::Name("in".to_owned()) {
                self.take();
                let right = self.sum()?;
                left = call(offset, "@in", vec![left, right]);
            } else if let Some((offset, symbol)) = self.accept_any(&["<=", "<", ">=", ">", "==", "!="]) {
                let right = self.sum()?;
                left = call(offset, &format!("_{symbol}_"), vec![left, right]);
            } else {
                return Ok(left);
            }
        }
    }

    fn sum(&mut self) -> Result<Ast, SyntaxError> {
        self.binary(&["+", "-"], Parser::product)
    }

    fn product(&mut self) -> Result<Ast, SyntaxError> {
        self.binary(&["*", "/", "%"], Parser::unary)
    }

    fn unary(&mut self) -> Result<Ast, SyntaxError> {
        let start = self.offset();
        let mut nots = 0;
        while self.accept("!").is_some() {
            nots += 1;
        }
        if nots > 0 {
            let member = self.member()?;
            return Ok(if nots % 2 == 0 { member } else { call(start, "!_", vec![member]) });
        }
        let mut minuses = 0;
        while self.accept("-").is_some() {
            minuses += 1;
        }
        if minuses == 0 {
            return self.member();
        }
        if minuses == 1
            && let Token::Int(digits) | Token::Float(digits) = self.peek().clone()
        {
            let float = matches!(self.peek(), Token::Float(_));
            self.take();
            let literal = number(&format!("-{digits}"), float, start)?;
            return self.suffixes(Ast { offset: start, kind: AstKind::Literal(literal) });
        }
        let member = self.member()?;
        Ok(if minuses % 2 == 0 { member } else { call(start, "-_", vec![member]) })
    }

    fn member(&mut self) -> Result<Ast, SyntaxError> {
        let primary = self.primary()?;
        self.suffixes(primary)
    }

    fn suffixes(&mut self, mut target: Ast) -> Result<Ast, SyntaxError> {
        loop {
            if let Some(dot) = self.accept(".") {
                let optional = self.accept("?").is_some();
                let field = match self.peek().clone() {
                    Token::Name(name) if !is_keyword(&name) => name,
                    Token::Quoted(name) => name,
                    _ => {
                        return Err(self.error(|found| {
                            let found = found.trim_matches('\'');
                            let found = if found == "<EOF>" { "" } else { found };
                            format!("Syntax error: no viable alternative at input '.{found}'")
                        }));
                    }
                };
                self.take();
                let open = self.offset();
                if !optional && self.accept("(").is_some() {
                    let args = self.arguments(")")?;
                    target = Ast { offset: open, kind: AstKind::Call(Some(Box::new(target)), field, args) };
                } else {
                    target = Ast { offset: dot, kind: AstKind::Select(Box::new(target), field, optional) };
                }
            } else if let Some(open) = self.accept("[") {
                let name = if self.accept("?").is_some() { "_[?_]" } else { "_[_]" };
                let index = self.expression()?;
                self.expect("]")?;
                target = call(open, name, vec![target, index]);
            } else {
                return Ok(target);
            }
        }
    }

    fn arguments(&mut self, close: &'static str) -> Result<Vec<Ast>, SyntaxError> {
        let mut args = Vec::new();
        if self.accept(close).is_some() {
            return Ok(args);
        }
        loop {
            args.push(self.expression()?);
            if self.accept(",").is_none() {
                self.expect(close)?;
                return Ok(args);
            }
        }
    }

    fn primary(&mut self) -> Result<Ast, SyntaxError> {
        let offset = self.offset();
        let literal = |value| Ok(Ast { offset, kind: AstKind::Literal(value) });
        let token = self.peek().clone();
        match token {
            Token::Symbol("(") => {
                self.take();
                let inner = self.expression()?;
                self.expect(")")?;
                Ok(inner)
            }
            Token::Symbol("[") => {
                self.take();
                let mut items = Vec::new();
                while self.accept("]").is_none() {
                    let optional = self.accept("?").is_some();
                    items.push((self.expression()?, optional));
                    if self.accept(",").is_none() {
                        self.expect("]")?;
                        break;
                    }
                }
                Ok(Ast { offset, kind: AstKind::List(items) })
            }
            Token::Symbol("{") => {
                self.take();
                let mut entries = Vec::new();
                while self.accept("}").is_none() {
                    let optional = self.accept("?").is_some();
                    let key = self.expression()?;
                    self.expect(":")?;
                    entries.push((key, self.expression()?, optional));
                    if self.accept(",").is_none() {
                        self.expect("}")?;
                        break;
                    }
                }
                Ok(Ast { offset, kind: AstKind::Map(entries) })
            }
            Token::Symbol(".") => {
                self.take();
                self.primary()
            }
            Token::Name(name) => {
                match name.as_str() {
                    "true" | "false" => {
                        self.take();
                        return literal(Val::Bool(name == "true"));
                    }
                    "null" => {
                        self.take();
                        return literal(Val::Null);
                    }
                    "in" => {
                        return Err(
                            self.error(|found| format!("Syntax error: mismatched input {found} expecting {STARTS}"))
                        );
                    }
                    _ => {}
                }
                self.take();
                if is_reserved(&name) {
                    return Err(SyntaxError { offset, message: format!("reserved identifier: {name}") });
                }
                let open = self.offset();
                if self.accept("(").is_some() {
                    let args = self.arguments(")")?;
                    return Ok(Ast { offset: open, kind: AstKind::Call(None, name, args) });
                }
                if let Some(open) = self.accept("{") {
                    return Ok(Ast { offset: open, kind: AstKind::Message(self.message(name)?) });
                }
                Ok(Ast { offset, kind: AstKind::Name(name) })
            }
            Token::Int(digits) => {
                self.take();
                literal(number(&digits, false, offset)?)
            }
            Token::Float(digits) => {
                self.take();
                literal(number(&digits, true, offset)?)
            }
            Token::Uint(digits) => {
                self.take();
                let parsed = match digits.strip_prefix("0x") {
                    Some(hex) => u64::from_str_radix(hex, 16),
                    None => digits.parse(),
                };
                literal(Val::Uint(
                    parsed.map_err(|_| SyntaxError { offset, message: "invalid uint literal".to_owned() })?,
                ))
            }
            Token::Text(text) => {
                self.take();
                literal(Val::String(text.into()))
            }
            Token::Bytes(bytes) => {
                self.take();
                literal(Val::Bytes(bytes.into()))
            }
            Token::Symbol(_) | Token::Quoted(_) | Token::End => {
                Err(self.error(|found| format!("Syntax error: mismatched input {found} expecting {STARTS}")))
            }
        }
    }

    fn message(&mut self, name: String) -> Result<String, SyntaxError> {
        while self.accept("}").is_none() {
            if self.peek() == &Token::End {
                return Err(self.error(|found| format!("Syntax error: mismatched input {found} expecting '}}'")));
            }
            self.take();
        }
        Ok(name)
    }
}

fn call(offset: usize, name: &str, args: Vec<Ast>) -> Ast {
    Ast { offset, kind: AstKind::Call(None, name.to_owned(), args) }
}

fn number(digits: &str, float: bool, offset: usize) -> Result<Val<'static>, SyntaxError> {
    let bad = |what: &str| SyntaxError { offset, message: format!("invalid {what} literal") };
    if float {
        return digits
            .parse()
            .ok()
            .filter(|float: &f64| float.is_finite())
            .map(Val::Double)
            .ok_or_else(|| bad("double"));
    }
    let (sign, magnitude) = match digits.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", digits),
    };
    let parsed = match magnitude.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(&format!("{sign}{hex}"), 16),
        None => digits.parse(),
    };
    parsed.map(Val::Int).map_err(|_| bad("int"))
}

fn is_keyword(name: &str) -> bool {
    matches!(name, "in" | "true" | "false" | "null")
}

fn is_reserved(name: &str) -> bool {
    matches!(
        name,
        "as" | "break"
            | "const"
            | "continue"
            | "else"
            | "for"
            | "function"
            | "if"
            | "import"
            | "let"
            | "loop"
            | "package"
            | "namespace"
            | "return"
            | "var"
            | "void"
            | "while"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_place() {
        for (source, offset, message) in [
            ("self.", 5, "Syntax error: no viable alternative at input '.'"),
            ("self.foo ==", 11, &*format!("Syntax error: mismatched input '<EOF>' expecting {STARTS}")),
            ("1 1", 2, "Syntax error: extraneous input '1' expecting <EOF>"),
            ("a @ b", 2, "Syntax error: token recognition error at: '@'"),
            ("f(1", 3, "Syntax error: mismatched input '<EOF>' expecting ')'"),
            ("package", 0, "reserved identifier: package"),
        ] {
            assert_eq!(parse(source).err(), Some(SyntaxError { offset, message: message.to_owned() }), "{source}");
        }
    }

    #[test]
    fn literals() {
        for (source, expected) in [
            ("-0x10", "Int(-16)"),
            ("1.5e3", "Double(1500.0)"),
            ("7u", "Uint(7)"),
            (r#""a\n\u00e9\x41""#, "String(\"a\\néA\")"),
            (r"r'\d'", "String(\"\\\\d\")"),
            ("'''it's'''", "String(\"it's\")"),
            (r"b'\xff'", "Bytes([255])"),
        ] {
            match parse(source).map(|ast| ast.kind) {
                Ok(AstKind::Literal(value)) => assert_eq!(format!("{value:?}"), expected, "{source}"),
                other => panic!("{source}: {other:?}"),
            }
        }
    }
}
