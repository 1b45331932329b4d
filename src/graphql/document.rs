//! Documents: parsed, checked against the limits and validated, once for each text.
//!
//! `apollo-compiler` parses a document, validates it by all rules of the specification and coerces variables. The executor gets
//! the result, so that no error is found after a mutation has begun.

mod convert;
mod empty;
pub mod field_order;
mod literal;
mod merge;
mod variables;

use std::sync::{Arc, LazyLock};

use apollo_compiler::ast;
use apollo_compiler::diagnostic::ToCliReport;
use apollo_compiler::parser::{SourceMap, SourceSpan};
use apollo_compiler::validation::{DiagnosticList, Valid};
use async_graphql::parser::types::ExecutableDocument;
use async_graphql::{Pos, Request, ServerError};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use self::convert::Positions;
pub use self::empty::HIDDEN_KEY;
use self::literal::NonNullVariables;
use self::merge::Merged;
use crate::graphql::cost::Cost;
use crate::graphql::limits::{self, Limits};

/// Most documents in the cache.
const MAX_DOCUMENTS: usize = 1_000;
/// Most bytes of text of the documents in the cache. A document takes about fifty times the memory of its text.
const MAX_TEXT: u64 = 512 * 1024;
/// What a selection counts for, in bytes of text: fragments are part of a document as often as they are spread.
const SELECTION_TEXT: usize = 30;
/// The least that a document counts for, in bytes of text.
const MIN_WEIGHT: u64 = MAX_TEXT / MAX_DOCUMENTS as u64;
/// Most errors that are reported for one document.
const MAX_PROBLEMS: usize = 20;

/// The introspection field of the executor that `apollo-compiler` does not have.
const EXTRA_INTROSPECTION: &str = "extend type __Type { isOneOf: Boolean }";

/// The printed schema, which documents are validated against.
static SCHEMA: LazyLock<Valid<apollo_compiler::Schema>> = LazyLock::new(|| {
    apollo_compiler::Schema::parse_and_validate(super::sdl() + EXTRA_INTROSPECTION, "schema.graphql")
        .unwrap_or_else(|invalid| panic!("the printed schema is not valid: {}", invalid.errors))
});

/// A cache of documents by their text.
pub struct Documents {
    limits: Limits,
    cache: Cache<String, Arc<Document>, TextLength>,
}

#[derive(Clone)]
struct TextLength;

impl Weighter<String, Arc<Document>> for TextLength {
    fn weight(&self, text: &String, document: &Arc<Document>) -> u64 {
        let expanded = document.selections.saturating_mul(SELECTION_TEXT);
        (text.len().max(expanded) as u64).max(MIN_WEIGHT)
    }
}

impl Documents {
    /// An empty cache.
    pub fn new(limits: Limits) -> Self {
        LazyLock::force(&SCHEMA);
        Documents { limits, cache: Cache::with_weighter(MAX_DOCUMENTS, MAX_TEXT, TextLength) }
    }

    /// The document with this text. It may be invalid: see [`Document::prepare`].
    ///
    /// # Errors
    /// `GRAPHQL_PARSE_FAILED`, or `GRAPHQL_VALIDATION_FAILED` for one that exceeds a limit.
    pub fn find(&self, text: &str) -> Result<Arc<Document>, ServerError> {
        if let Some(document) = self.cache.get(text) {
            return Ok(document);
        }
        let document = Arc::new(Document::read(text, self.limits)?);
        self.cache.insert(text.to_owned(), Arc::clone(&document));
        Ok(document)
    }
}

/// A document within the limits, valid or not.
pub struct Document {
    /// For the executor.
    pub executable: ExecutableDocument,
    /// Whether fields may be selected twice, which only a request tells, so that the executor has to merge their values.
    pub merges_fields: bool,
    selections: usize,
    validated: Result<ValidDocument, Vec<ServerError>>,
}

/// A valid document.
struct ValidDocument {
    document: Valid<apollo_compiler::ExecutableDocument>,
    non_null_variables: NonNullVariables,
}

impl Document {
    fn read(text: &str, limits: Limits) -> Result<Self, ServerError> {
        limits::scan(text, limits)?;
        let (read, mut executable) = parse(text)?;
        limits::expand(&executable, limits)?;
        let validated = validate(&read);
        let mut merged = Merged::default();
        // Only a valid document is known to have no cycle of fragments.
        if validated.is_ok() {
            merged = merge::merge_fields(&SCHEMA, &mut executable);
            empty::add_hidden_fields(&SCHEMA, &mut executable);
        }
        Ok(Document { executable, merges_fields: merged.left, selections: merged.selections, validated })
    }

    /// Adds this document to a request, coerces the variables, and computes the cost.
    ///
    /// # Errors
    /// `GRAPHQL_VALIDATION_FAILED` for an invalid document and for variables that cannot be coerced.
    pub fn prepare(&self, mut request: Request) -> Result<(Request, Cost), Vec<ServerError>> {
        let valid = self.validated.as_ref().map_err(Clone::clone)?;
        // The executor reports that no operation, or more than one, is selected.
        let Ok(operation) = valid.document.operations.get(request.operation_name.as_deref()) else {
            request.set_parsed_query(self.executable.clone());
            return Ok((request, Cost::REFUSED));
        };
        let sent = std::mem::take(&mut request.variables);
        let coerced = variables::coerce(&SCHEMA, &valid.document, operation, &valid.non_null_variables, sent);
        let coerced = coerced.map_err(|problem| vec![problem])?;
        let cost = Cost::of(&valid.document, operation, &coerced);
        let mut executable = self.executable.clone();
        variables::remove_absent(&mut executable, operation, &coerced);
        request.variables = coerced;
        request.set_parsed_query(executable);
        Ok((request, cost))
    }
}

fn parse(text: &str) -> Result<(ast::Document, ExecutableDocument), ServerError> {
    let read = ast::Document::parse(text, "document").map_err(|failed| {
        let mut problems = problems(&failed.errors, "GRAPHQL_PARSE_FAILED");
        problems.truncate(1);
        problems.pop().unwrap_or_else(|| invalid("The text is not a GraphQL document.", None))
    })?;
    let executable = convert::document(text, &read)?;
    Ok((read, executable))
}

fn validate(read: &ast::Document) -> Result<ValidDocument, Vec<ServerError>> {
    let failed = |found: &DiagnosticList| problems(found, "GRAPHQL_VALIDATION_FAILED");
    // Errors against the schema are reported alone, because they cause others in the validation.
    let built = read.to_executable(&SCHEMA).map_err(|invalid| failed(&invalid.errors))?;
    let document = built.validate(&SCHEMA).map_err(|invalid| failed(&invalid.errors))?;
    let non_null_variables = literal::check(&SCHEMA, &document)?;
    Ok(ValidDocument { document, non_null_variables })
}

fn problems(found: &DiagnosticList, code: &str) -> Vec<ServerError> {
    let problems = found.iter().take(MAX_PROBLEMS).map(|problem| {
        let at = position(problem.error.location(), problem.sources);
        let mut shown = ServerError::new(problem.error.to_string(), at);
        shown.extensions.get_or_insert_default().set("code", code);
        shown
    });
    problems.collect()
}

fn invalid(message: impl Into<String>, at: Option<Pos>) -> ServerError {
    let mut problem = ServerError::new(message, at);
    problem.extensions.get_or_insert_default().set("code", "GRAPHQL_VALIDATION_FAILED");
    problem
}

/// A location in a document, with columns in characters.
fn position(location: Option<SourceSpan>, sources: &SourceMap) -> Option<Pos> {
    let text = sources.get(&location?.file_id())?.source_text();
    Some(Positions::of(text).at(location))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { tokens: 4000, selections: 5000, aliases: 60, directives: 50 };

    fn problem(text: &str) -> Option<String> {
        let checked =
            Document::read(text, LIMITS).map_err(|problem| vec![problem]).and_then(|read| read.validated);
        checked.err().map(|problems| problems[0].message.clone())
    }

    #[test]
    fn invalid_documents_are_rejected() {
        for text in [
            "{ nope }",
            "{ viewer }",
            "{ server { version { a } } }",
            "{ viewer { user { x: id } } viewer { user { x: name } } }",
            "{ files(first: 1) { totalCount } files(first: 2) { totalCount } }",
            "{ viewer { user { id } } ...F } fragment F on Query { viewer { user { id: name } } }",
            "{ files { nodes { workspace { files(first: 1) { totalCount } } } } files { nodes { workspace { files(first: 2) { totalCount } } } } }",
            "{ node(id: 1) { ... on File { x: size } ... on Image { x: altText } } }",
            "{ files(filter: { search: \"a\", search: \"b\" }) { totalCount } }",
            "{ files(filter: { filename: { eq: \"a\", eq: \"b\" } }) { totalCount } }",
            "query($f: FileFilter = { search: \"a\", search: \"b\" }) { files(filter: $f) { totalCount } }",
            "mutation { updateFile(input: { id: 1, metadata: { a: { b: 1, b: 2 } } }) { file { id } } }",
            "mutation { updateFile(input: { id: 1, metadata: [{ b: 1, b: 2 }] }) { file { id } } }",
            "query($i: ID) { file(id: $i) { id } }",
            "query($i: ID = null) { file(id: $i) { id } }",
            "query($i: ID) { nodes(ids: [$i]) { id } }",
            "query($i: ID!) { nodes(ids: $i) { id } }",
            "query($i: [ID]) { nodes(ids: $i) { id } }",
            "query($s: Int) { files(filter: { search: $s }) { totalCount } }",
            "mutation($n: String) { createWorkspace(input: { name: $n }) { workspace { id } } }",
            "query($t: String) { files(filter: { tags: { any: [$t] } }) { totalCount } }",
            "query($n: String) { ...F } fragment F on Query { files(first: $n) { totalCount } }",
            "{ files(first: $n) { totalCount } }",
            "{ ...F } fragment F on Query { files(first: $n) { totalCount } }",
            "query($n: Int) { server { version } }",
            "query($n: Int, $n: Int) { files(first: $n) { totalCount } }",
            "query($n: File) { files(first: $n) { totalCount } }",
            "query($n: Nope) { files(first: $n) { totalCount } }",
            "query($n: Int = \"a\") { files(first: $n) { totalCount } }",
            "query($n: Int = 9999999999) { files(first: $n) { totalCount } }",
            "query($n: Int! = null) { files(first: $n) { totalCount } }",
            "{ files(first: 9999999999) { totalCount } }",
            "{ files(first: 1.0) { totalCount } }",
            "{ files(first: \"1\") { totalCount } }",
            "{ files(first: 1, first: 1) { totalCount } }",
            "{ files(nope: 1) { totalCount } }",
            "{ files(filter: { nope: 1 }) { totalCount } }",
            "{ files(filter: { status: NOPE }) { totalCount } }",
            "{ files(filter: { status: [READY, \"READY\"] }) { totalCount } }",
            "{ files(filter: { createdAt: { gte: \"yesterday\" } }) { totalCount } }",
            "{ files(filter: { size: { gte: -1 } }) { totalCount } }",
            "{ nodes(ids: [null]) { id } }",
            "{ nodes(ids: [[1]]) { id } }",
            "{ nodes { id } }",
            "{ file(id: true) { id } }",
            "{ ...F }",
            "{ server { version } } fragment F on Query { server { version } }",
            "{ ...F } fragment F on Query { ...F }",
            "{ ...F } fragment F on Query { ...G } fragment G on Query { ...F }",
            "{ ...F ...F } fragment F on Query { server { version } } fragment F on Query { server { version } }",
            "{ ... on File { id } }",
            "{ ... on String { id } }",
            "{ ... on Nope { id } }",
            "{ viewer { user { ... on File { id } } } }",
            "query A { server { version } } query A { server { version } }",
            "{ server { version } } query A { server { version } }",
            "{ server { version } } { server { version } }",
            "{ server { version @nope } }",
            "{ server { version @skip } }",
            "{ server { version @skip(if: 1) } }",
            "{ server { version @skip(if: true) @skip(if: true) } }",
            "{ server { version @deprecated } }",
            "query @skip(if: true) { server { version } }",
            "subscription { assetEvents(workspaceId: 1) { kind } uploadProgress(id: 1) { id } }",
            "{ __type { name } }",
            "{ __schema { nope } }",
            "{ __typename { a } }",
            "type A { a: Int } { server { version } }",
            "mutation { updateFile(input: { id: 1, metadata: 1e999 }) { file { id } } }",
            "fragment F on Query { server { version } }",
            "{ files(filter: { search: \"\\uD83D\" }) { totalCount } }",
            "{ files(filter: { search: \"\\uDE00\\uD83D\" }) { totalCount } }",
            "{ files(filter: { search: \"\\u{D83D}\" }) { totalCount } }",
            "{ files(filter: { search: \"\\u{110000}\" }) { totalCount } }",
            "{ files(filter: { search: \"\\x\" }) { totalCount } }",
            "",
            "{",
            "{}",
            "{ server { } }",
            "{ files(first: 01) { totalCount } }",
            "{ files(first: 1a) { totalCount } }",
            "{ a: b: c }",
        ] {
            assert!(problem(text).is_some(), "{text}");
        }
    }

    #[test]
    fn valid_documents_are_accepted() {
        for text in [
            "{ viewer { user { x: id } } viewer { user { x: id y: name } } }",
            "{ node(id: 1) { ... on File { x: id } ... on Image { x: fileId } } }",
            "query($i: ID = \"a\") { file(id: $i) { id } }",
            "query($i: ID!, $j: ID = 1) { nodes(ids: [$i, $j]) { id } }",
            "query($t: Boolean) { files(filter: { trashed: $t, status: READY }) { totalCount } }",
            "query($n: Int) { ...F } fragment F on Query { files(first: $n) { totalCount } }",
            "mutation($m: JSON, $n: Int) { updateFile(input: { id: 1, metadata: { a: $m, b: [$n, FOO, 1.5] } }) { file { id } } }",
            "mutation($f: Upload!) { uploadFile(input: { workspaceId: 1, file: $f }) { file { id } } }",
            "query A($n: Int) { files(first: $n) { totalCount } } query B { server { version } }",
            "{ files(filter: { search: \"\\uD83D\\uDE00 \\u{1F600}\" }) { totalCount } }",
            "{ files(filter: { search: \"\"\"\\uD83D\"\"\" }) { totalCount } }",
            "\u{feff}{ __typename __schema { types { name } } __type(name: \"File\") { name isOneOf } }",
        ] {
            assert_eq!(problem(text), None, "{text}");
        }
    }

    #[test]
    fn positions_are_lines_and_characters() {
        let at = |text: &str| {
            let read =
                Document::read(text, LIMITS).map_err(|problem| vec![problem]).and_then(|read| read.validated);
            read.err().map(|problems| (problems[0].locations[0].line, problems[0].locations[0].column))
        };
        assert_eq!(at("{\n  nope\n}"), Some((2, 3)));
        assert_eq!(at("{\r\n  server { version }\r\n nope\r\n}"), Some((3, 2)));
        assert_eq!(
            at("{ files(filter: { search: \"\u{e9}\u{1F600}\", size: { gte: -1 } }) { totalCount } }"),
            Some((1, 46))
        );
        let read = Document::read(
            "{\n # \u{e9}\n a: files(filter: { search: \"\u{1F600}\" }) { totalCount } }",
            LIMITS,
        );
        let read = read.ok().map(|read| read.executable);
        let places = read.iter().flat_map(|read| read.operations.iter()).map(|(_, operation)| {
            let set = &operation.node.selection_set.node;
            let below = set.items[0].node.clone();
            let async_graphql::parser::types::Selection::Field(field) = below else { return (0, 0, 0) };
            (set.items[0].pos.line, set.items[0].pos.column, field.node.selection_set.pos.column)
        });
        assert_eq!(places.collect::<Vec<_>>(), [(3, 2, 38)]);
    }

    #[test]
    fn documents_are_bounded() {
        let documents = Documents::new(LIMITS);
        for i in 0..3000 {
            assert!(documents.find(&format!("query A{i} {{ server {{ version }} }}")).is_ok());
        }
        assert!(documents.cache.len() <= MAX_DOCUMENTS);
        for i in 0..20 {
            let long =
                format!("{{ files(filter: {{ search: \"{i}{}\" }}) {{ totalCount }} }}", "x".repeat(100_000));
            assert!(documents.find(&long).is_ok());
        }
        assert!(documents.cache.weight() <= MAX_TEXT);
    }
}
