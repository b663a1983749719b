//! Pages for people: the API's, and one for each type of problem.
//!
//! Here: pages that work where nothing else can be reached, all of what they need included. Not
//! here: what they say (see `docs/problems.md` and [`super::openapi`]).

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::Path;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use utoipa_swagger_ui::Config;

use super::error::{Kind, Problem};

/// The list of all problems, as it is in the book.
const PROBLEMS: &str = include_str!("../../../docs/problems.md");
/// These pages load nothing from elsewhere. The API's own page writes styles into itself.
const POLICY: (HeaderName, HeaderValue) = (
    header::CONTENT_SECURITY_POLICY,
    HeaderValue::from_static(
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
         frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    ),
);
/// They change with the program alone.
const AN_HOUR: (HeaderName, HeaderValue) =
    (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));

/// `/docs`: its files are relative to `/docs/`.
pub(super) async fn to_index() -> Redirect {
    Redirect::permanent("/docs/")
}

pub(super) async fn index() -> Result<Response, Problem> {
    file("index.html")
}

pub(super) async fn asset(Path(name): Path<String>) -> Result<Response, Problem> {
    file(&name)
}

fn file(name: &str) -> Result<Response, Problem> {
    // Its default would ask a site elsewhere whether the description is valid.
    let config = Config::from("/openapi.json").validator_url("none").deep_linking(true);
    let found = utoipa_swagger_ui::serve(name, Arc::new(config)).ok().flatten();
    let file = found.ok_or_else(|| Problem::new(Kind::NotFound, "the docs have no such file"))?;
    let content_type = HeaderValue::from_str(&file.content_type)
        .unwrap_or(HeaderValue::from_static("application/octet-stream"));
    let body = bytes(file.bytes);
    Ok(([POLICY, AN_HOUR, (header::CONTENT_TYPE, content_type)], body).into_response())
}

/// What the program holds already is not copied: whoever asks for the largest file a thousand times
/// and takes none of them would have a gigabyte kept for them.
fn bytes(file: Cow<'static, [u8]>) -> Bytes {
    match file {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => Bytes::from(bytes),
    }
}

/// `/problems/`: what there is.
pub(super) async fn problems() -> Response {
    let mut items = String::new();
    for kind in Kind::ALL {
        let (slug, title, status) = (kind.slug(), kind.title(), kind.status().as_u16());
        // A string takes what is written to it.
        let _ = write!(items, "<li><a href=\"/problems/{slug}\">{slug}</a> ({status}): {title}");
    }
    page("Problems", &format!("<h1>Problems</h1>\n<ul>{items}</ul>"))
}

/// `/problems/{kind}`: what the type means.
pub(super) async fn problem(Path(slug): Path<String>) -> Result<Response, Problem> {
    let kind = Kind::ALL.iter().find(|kind| kind.slug() == slug);
    let kind = kind.ok_or_else(|| Problem::new(Kind::NotFound, "there is no such problem"))?;
    let title = kind.title();
    let meaning = meaning(kind.slug()).map(html).unwrap_or_default();
    let body = format!(
        "<h1>{title}</h1>\n<p>Problem <code>{slug}</code>, status {}.</p>\n<p>{meaning}</p>\n\
         <p><a href=\"/problems\">All problems</a>, <a href=\"/docs/\">the API</a></p>",
        kind.status().as_u16(),
    );
    Ok(page(title, &body))
}

fn page(title: &str, body: &str) -> Response {
    let text = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
         <style>body {{ font: 1rem/1.5 sans-serif; max-width: 45rem; margin: 2rem auto; \
         padding: 0 1rem }}</style>\n{body}\n</html>\n"
    );
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    ([POLICY, AN_HOUR, (header::CONTENT_TYPE, html)], text).into_response()
}

/// The last cell of the problem's row in the book.
fn meaning(slug: &str) -> Option<&'static str> {
    let start = format!("| `{slug}` | ");
    let row = PROBLEMS.lines().find_map(|line| line.strip_prefix(&*start))?;
    let (_status, meaning) = row.split_once(" | ")?;
    Some(meaning.trim_end_matches(" |"))
}

/// The little Markdown that the list of problems has: code, and links, of which the text stays.
fn html(markdown: &str) -> String {
    let mut html = String::new();
    for (at, part) in markdown.split('`').enumerate() {
        let escaped = part.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        if at % 2 == 1 {
            html += &format!("<code>{escaped}</code>");
        } else {
            html += &without_links(&escaped);
        }
    }
    html
}

/// Turns each `[text](address)` into its text.
fn without_links(text: &str) -> String {
    let mut left = text;
    let mut kept = String::new();
    while let Some((before, rest)) = left.split_once('[') {
        let link = rest.split_once("](").and_then(|(shown, rest)| {
            rest.split_once(')').map(|(_address, behind)| (shown, behind))
        });
        let Some((shown, behind)) = link else {
            break;
        };
        kept += before;
        kept += shown;
        left = behind;
    }
    kept + left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_has_its_meaning() {
        for kind in Kind::ALL {
            let found = meaning(kind.slug()).map(html);
            let found = found.unwrap_or_default();
            assert!(found.len() > 10, "docs/problems.md does not explain {}", kind.slug());
            assert!(!found.contains("]("), "{found}");
        }
    }

    #[test]
    fn a_file_that_the_program_holds_is_sent_from_where_it_is() {
        static FILE: &[u8] = b"a file";
        let sent = bytes(Cow::Borrowed(FILE));
        assert_eq!((&sent[..], sent.as_ptr()), (FILE, FILE.as_ptr()));
        assert_eq!(bytes(Cow::Owned(FILE.to_vec())), FILE);
    }

    #[test]
    fn markdown_becomes_html() {
        let text = "a `b<c` [the rules](spec/payload.md), `x[0]` & more";
        let html = html(text);
        assert_eq!(html, "a <code>b&lt;c</code> the rules, <code>x[0]</code> &amp; more");
    }
}
