//! The document against the routes, the kinds of problems and its copy in the book.

#![expect(clippy::indexing_slicing, reason = "a test may panic")]

use serde_json::Value;

use super::*;
use crate::http::ROUTES;
use crate::http::error::Kind;

/// The copy that is read without a service.
const COPY: &str = include_str!("../../../../docs/openapi.json");
const ROUTER: &str = include_str!("../mod.rs");

fn value() -> Value {
    serde_json::from_str(text()).unwrap_or_default()
}

/// Routes whose answers are files of a page: of no use to a program.
const FILES: [&str; 2] = ["/docs/{*file}", "/problems/"];

#[test]
fn the_copy_in_the_book_is_this_document() {
    // To bring it up to date: TALLY_WRITE=1 cargo nextest run the_copy_in_the_book
    if std::env::var_os("TALLY_WRITE").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
        assert!(std::fs::write(path, text()).is_ok());
        return;
    }
    assert!(COPY == text(), "docs/openapi.json is old: TALLY_WRITE=1 brings it up to date");
}

#[test]
fn every_route_is_described_and_counted() {
    let document = value();
    let described: Vec<&str> =
        document["paths"].as_object().into_iter().flatten().map(|(path, _)| &**path).collect();
    let routed: Vec<&str> =
        ROUTER.split(".route(").skip(1).filter_map(|rest| rest.split('"').nth(1)).collect();
    for path in &routed {
        assert!(ROUTES.contains(path), "{path} is not in ROUTES: its requests are not told apart");
        let is_described = described.contains(path) || FILES.contains(path);
        assert!(is_described, "{path} is not in the OpenAPI document");
    }
    for path in described.iter().chain(&ROUTES) {
        assert!(routed.contains(path), "{path} is no route");
    }
}

/// Those that no operation can answer: they are answered for methods that it does not have.
#[test]
fn every_kind_of_problem_is_described_where_it_can_come() {
    let text = text();
    for kind in Kind::ALL.iter().filter(|kind| **kind != Kind::MethodNotAllowed) {
        let quoted = format!("\"{}\"", kind.uri());
        assert!(text.contains(&quoted), "{quoted} is answered by no operation");
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let document = value();
    let schemas = &document["components"]["schemas"];
    for reference in text().split("#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap_or_default();
        assert!(schemas.get(name).is_some(), "{name} is referred to, and not there");
    }
    assert_eq!(document["openapi"], "3.1.0");
}
