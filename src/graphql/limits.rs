//! Limits on the size of a document, checked before it is parsed and before it is validated.
//!
//! The time of validation doubles with each level of nested fragments, so the expanded size is computed first, with each
//! fragment visited once. Tokens are counted before parsing, whose time grows with them.

use std::collections::HashMap;

use async_graphql::Name;
use async_graphql::parser::types::{Directive, ExecutableDocument, Field, Selection, SelectionSet};
use async_graphql::{Pos, Positioned, ServerError, Value};

use crate::config::Config;

/// Limits of a document.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Lexical tokens.
    pub tokens: usize,
    /// Fields, with fragments expanded.
    pub selections: usize,
    pub aliases: usize,
    pub directives: usize,
}

impl From<&Config> for Limits {
    fn from(config: &Config) -> Self {
        Limits {
            tokens: config.max_tokens,
            selections: config.max_selections,
            aliases: config.max_aliases,
            directives: config.max_directives,
        }
    }
}

/// Deepest nesting of brackets: the parser is recursive.
const MAX_BRACKETS: usize = 100;

/// Checks a text before it is parsed.
///
/// # Errors
/// `GRAPHQL_VALIDATION_FAILED`.
pub fn scan(query: &str, limits: Limits) -> Result<(), ServerError> {
    let (tokens, brackets) = lex(query, limits.tokens);
    if tokens > limits.tokens {
        return Err(refused(&format!("A query has at most {} tokens.", limits.tokens), None));
    }
    if brackets > MAX_BRACKETS {
        return Err(refused(&format!("Brackets are nested at most {MAX_BRACKETS} deep."), None));
    }
    Ok(())
}

/// Checks a document before it is validated.
///
/// # Errors
/// `GRAPHQL_VALIDATION_FAILED`.
pub fn expand(document: &ExecutableDocument, limits: Limits) -> Result<(), ServerError> {
    let mut counter = Counter { document, limits, aliases: 0, directives: 0, fragments: HashMap::new() };
    let mut selections = 0usize;
    for (_, operation) in document.operations.iter() {
        counter.directives(&operation.node.directives)?;
        selections = selections.saturating_add(counter.set(&operation.node.selection_set)?);
    }
    // Validation also visits fragments that are not used.
    for name in document.fragments.keys() {
        counter.fragment(name)?;
    }
    if selections > limits.selections {
        let message =
            format!("A query selects at most {} fields, with fragments expanded.", limits.selections);
        return Err(refused(&message, None));
    }
    Ok(())
}

/// The number of tokens, up to `max` and one more, and the depth of brackets. An approximation of GraphQL's lexer that counts no
/// fewer tokens.
fn lex(query: &str, max: usize) -> (usize, usize) {
    let bytes = query.as_bytes();
    let (mut i, mut tokens, mut depth, mut deepest) = (0, 0, 0usize, 0);
    while i < bytes.len() && tokens <= max {
        match bytes[i] {
            b' ' | b'\t' | b'\n' | b'\r' | b',' => {
                i += 1;
                continue;
            }
            b'#' => {
                while i < bytes.len() && bytes[i] != b'\n' && bytes[i] != b'\r' {
                    i += 1;
                }
                continue;
            }
            b'"' => i = end_of_string(bytes, i),
            byte if byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-' => {
                i += 1;
                while i < bytes.len()
                    && (bytes[i].is_ascii_alphanumeric() || matches!(bytes[i], b'_' | b'.' | b'+' | b'-'))
                {
                    i += 1;
                }
            }
            b'{' | b'[' | b'(' => {
                depth += 1;
                deepest = deepest.max(depth);
                i += 1;
            }
            b'}' | b']' | b')' => {
                depth = depth.saturating_sub(1);
                i += 1;
            }
            _ => i += 1,
        }
        tokens += 1;
    }
    (tokens, deepest)
}

fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let block = bytes[start..].starts_with(b"\"\"\"");
    let mut i = start + if block { 3 } else { 1 };
    while i < bytes.len() {
        match bytes[i] {
            // `\"""` is the only escape in a block string.
            b'\\' if block => i += if bytes[i + 1..].starts_with(b"\"\"\"") { 4 } else { 1 },
            b'\\' => i += 2,
            b'"' if !block => return i + 1,
            b'"' if bytes[i..].starts_with(b"\"\"\"") => return i + 3,
            b'\n' | b'\r' if !block => return i,
            _ => i += 1,
        }
    }
    bytes.len()
}

struct Counter<'a> {
    document: &'a ExecutableDocument,
    limits: Limits,
    aliases: usize,
    directives: usize,
    /// Expanded size of each fragment; zero while it is counted, so that a cycle ends. Validation reports cycles.
    fragments: HashMap<&'a Name, usize>,
}

impl<'a> Counter<'a> {
    fn set(&mut self, set: &'a Positioned<SelectionSet>) -> Result<usize, ServerError> {
        let mut size = 0usize;
        for selection in &set.node.items {
            self.directives(selection.node.directives())?;
            size = size.saturating_add(match &selection.node {
                Selection::Field(field) => 1 + self.field(field)?,
                Selection::InlineFragment(fragment) => self.set(&fragment.node.selection_set)?,
                Selection::FragmentSpread(spread) => self.fragment(&spread.node.fragment_name.node)?,
            });
        }
        Ok(size)
    }

    fn field(&mut self, field: &'a Positioned<Field>) -> Result<usize, ServerError> {
        if field.node.alias.is_some() {
            self.aliases += 1;
            if self.aliases > self.limits.aliases {
                return Err(refused(
                    &format!("A query has at most {} aliases.", self.limits.aliases),
                    Some(field.pos),
                ));
            }
        }
        // The executor does not validate `__typename`.
        if field.node.name.node == "__typename" {
            typename(field)?;
        }
        self.set(&field.node.selection_set)
    }

    fn fragment(&mut self, name: &'a Name) -> Result<usize, ServerError> {
        if let Some(size) = self.fragments.get(name) {
            return Ok(*size);
        }
        let Some(fragment) = self.document.fragments.get(name) else { return Ok(0) };
        self.fragments.insert(name, 0);
        self.directives(&fragment.node.directives)?;
        let size = self.set(&fragment.node.selection_set)?;
        self.fragments.insert(name, size);
        Ok(size)
    }

    fn directives(&mut self, directives: &[Positioned<Directive>]) -> Result<(), ServerError> {
        self.directives += directives.len();
        if self.directives > self.limits.directives {
            return Err(refused(
                &format!("A query has at most {} directives.", self.limits.directives),
                None,
            ));
        }
        Ok(())
    }
}

fn typename(field: &Positioned<Field>) -> Result<(), ServerError> {
    if !field.node.arguments.is_empty() || !field.node.selection_set.node.items.is_empty() {
        return Err(refused("`__typename` has no arguments and no fields.", Some(field.pos)));
    }
    let mut seen = Vec::new();
    for directive in &field.node.directives {
        let name = directive.node.name.node.as_str();
        let known = matches!(name, "skip" | "include")
            && directive.node.arguments.len() == 1
            && directive.node.get_argument("if").is_some();
        if !known || seen.contains(&name) {
            return Err(refused(&format!("`@{name}` cannot be used here like this."), Some(directive.pos)));
        }
        seen.push(name);
    }
    Ok(())
}

fn refused(message: &str, at: Option<Pos>) -> ServerError {
    let mut error = ServerError::new(message, at);
    error.extensions.get_or_insert_default().set("code", Value::from("GRAPHQL_VALIDATION_FAILED"));
    error
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::parse_query;

    use super::*;

    const LIMITS: Limits = Limits { tokens: 1000, selections: 100, aliases: 3, directives: 3 };

    fn check(query: &str) -> Result<(), String> {
        scan(query, LIMITS).map_err(|problem| problem.message)?;
        let document = parse_query(query).map_err(|problem| problem.to_string())?;
        expand(&document, LIMITS).map_err(|problem| problem.message)
    }

    #[test]
    fn nothing_hides_behind_a_block_string() {
        let many = "a ".repeat(2000);
        for string in [r#""""\""""x""""#, r#""""a\b""""#, r#""\\""#, r#""\"""#] {
            let query = format!("{{ f(a: {string}) {many} }}");
            assert!(scan(&query, LIMITS).is_err(), "{string}");
            assert!(scan(&format!("{{ f(a: {string}) }}"), LIMITS).is_ok(), "{string}");
        }
    }

    #[test]
    fn an_ordinary_query_passes() {
        assert_eq!(
            check("query Q($a: Int = 1) { a: x(first: $a, s: \"}{{\") { ...F } } fragment F on T { b }"),
            Ok(())
        );
    }

    #[test]
    fn a_fragment_bomb_is_counted_and_not_expanded() {
        let mut bomb = "query { ...F0 }".to_owned();
        for i in 0..30 {
            bomb += &format!(" fragment F{i} on Query {{ ...F{n} ...F{n} }}", n = i + 1);
        }
        bomb += " fragment F30 on Query { x }";
        assert!(check(&bomb).is_err_and(|message| message.contains("fragments expanded")));
    }

    #[test]
    fn cycles_and_unknown_fragments_are_left_to_validation() {
        assert_eq!(check("{ ...A } fragment A on Q { ...B x } fragment B on Q { ...A ...Nowhere }"), Ok(()));
    }

    #[test]
    fn each_limit_has_its_refusal() {
        for (query, word) in [
            ("{ a: x b: x c: x d: x }".to_owned(), "aliases"),
            ("{ x @skip(if: true) x @skip(if: true) x @a x @b }".to_owned(), "directives"),
            (format!("{{ {} }}", "x ".repeat(101)), "fields"),
            (format!("{{ {} }}", "x ".repeat(2000)), "tokens"),
            (format!("{{ x(a: {}) }}", "[".repeat(200)), "Brackets"),
            ("{ __typename(a: 1) }".to_owned(), "__typename"),
            ("{ __typename { x } }".to_owned(), "__typename"),
            ("{ __typename @skip(if: true) @skip(if: true) }".to_owned(), "@skip"),
        ] {
            assert!(check(&query).is_err_and(|message| message.contains(word)), "{word}");
        }
    }

    #[test]
    fn strings_and_comments_hide_brackets() {
        let hidden = format!("{{ x(a: \"{0}\", b: \"\"\"{0} \\\"\"\" {0}\"\"\") }} # {0}", "{[(".repeat(100));
        assert_eq!(lex(&hidden, 1000), (11, 2));
    }
}
