//! The payload as a whole: what stands around the object, its size, the order of errors.

use ledger::limits::{PAYLOAD_BYTES_CEILING, PAYLOAD_BYTES_DEFAULT};
use ledger::names::Workspace;
use ledger::payload::{Reason, Rules, scan};

use crate::support::{HEAD, assert_accepted, assert_refused, event, with};

#[test]
fn refuses_anything_around_the_object() {
    let valid = event("");
    for (payload, code, offset) in [
        (String::new(), "not-an-object", 0),
        ("null".to_owned(), "not-an-object", 0),
        (format!("\u{feff}{valid}"), "byte-order-mark", 0),
        (format!("\n{valid}"), "white-space-around", 0),
        (format!("\r{valid}"), "white-space-around", 0),
        (format!("\u{a0}{valid}"), "not-an-object", 0),
        (format!("{valid} "), "white-space-around", valid.len()),
        (format!("{valid}\r\n"), "white-space-around", valid.len()),
        (format!("{valid}\u{feff}"), "trailing-bytes", valid.len()),
        (format!("{valid}\u{2028}"), "trailing-bytes", valid.len()),
        (format!("{valid}\0"), "trailing-bytes", valid.len()),
        (format!("{valid}}}"), "trailing-bytes", valid.len()),
        (format!("{valid}\n{valid}"), "trailing-bytes", valid.len()),
    ] {
        assert_eq!(assert_refused(&payload, code, "").offset, offset, "{payload:?}");
    }
}

#[test]
fn takes_json_white_space_inside_the_object_and_no_other() {
    let spaced = event("").replace(':', " :\t").replace(',', "\r\n,").replace('{', "{ ");
    // Times hold colons too: put those back.
    let spaced = spaced.replace("16 :\t00 :\t00Z", "16:00:00Z").replace('}', " }");
    assert_accepted(&spaced);
    for other in ["\u{b}", "\u{c}", "\u{a0}", "\u{2028}", "/**/", "\0"] {
        assert_refused(event("").replacen(':', &format!("{other}:"), 1), "not-json", "");
    }
}

#[test]
fn counts_bytes_before_it_reads_any() {
    let workspace = Workspace::new("acme").unwrap();
    for (rules, max) in [
        (Rules::default(), PAYLOAD_BYTES_DEFAULT),
        (Rules::ceiling(), PAYLOAD_BYTES_CEILING),
        (Rules { max_bytes: usize::MAX }, PAYLOAD_BYTES_CEILING),
        (Rules { max_bytes: 500 }, 500),
    ] {
        let bare = event(r#""context":{"a":""}"#).len();
        let full = event(&format!(r#""context":{{"a":"{}"}}"#, "x".repeat(max - bare)));
        assert_eq!(full.len(), max);
        assert!(scan(full.as_bytes(), &workspace, &rules).is_ok());
        let over = full.replacen("xx", "xxx", 1);
        let error = scan(over.as_bytes(), &workspace, &rules).unwrap_err();
        assert_eq!(error.reason, Reason::TooLong { max, found: max + 1 });
    }
}

#[test]
fn refuses_what_is_not_the_grammar_at_the_byte_where_it_goes_wrong() {
    for (members, code, pointer, offset) in [
        (r#","source":"#, "cut-off", "/source", 10),
        (r#","source""#, "cut-off", "", 9),
        (r#","sou"#, "cut-off", "", 5),
        (r#","source":"a\"#, "cut-off", "/source", 12),
        (r#","context":{"a":[1,"#, "cut-off", "/context/a/1", 19),
        (r#","context":{"a":tru"#, "not-json", "/context/a", 16),
        (r#","context":{"a":NaN}}"#, "not-json", "/context/a", 16),
        (r#","context":{"a":Infinity}}"#, "not-json", "/context/a", 16),
        (r#","context":{"a":+1}}"#, "not-json", "/context/a", 16),
        (r#","context":{"a":.5}}"#, "not-json", "/context/a", 16),
        (r#","context":{"a":'b'}}"#, "not-json", "/context/a", 16),
        (r#","context":{"a":True}}"#, "not-json", "/context/a", 16),
        (r#","context":{"a":truely}}"#, "not-json", "/context", 20),
        (r#","context":{"a":01}}"#, "bad-number", "/context/a", 17),
        (r#","context":{"a":-}}"#, "bad-number", "/context/a", 17),
        (r#","context":{"a":-01}}"#, "bad-number", "/context/a", 18),
        (r#","context":{"a":1.}}"#, "bad-number", "/context/a", 18),
        (r#","context":{"a":1e}}"#, "bad-number", "/context/a", 18),
        (r#","context":{"a":1e+}}"#, "bad-number", "/context/a", 19),
        (r#","context":{"a":0x10}}"#, "not-json", "/context", 17),
        (r#","context":{"a":1,}}"#, "not-json", "/context", 18),
        (r#","context":{,}}"#, "not-json", "/context", 12),
        (r#","context":{"a" 1}}"#, "not-json", "/context", 16),
        (r#","context":{a:1}}"#, "not-json", "/context", 12),
        (r#","context":{"a":[1 2]}}"#, "not-json", "/context/a", 19),
        (r#","context":{"a":[1,]}}"#, "not-json", "/context/a/1", 19),
        (r#","context":{"a":[,1]}}"#, "not-json", "/context/a/0", 17),
        (r#","context":{"a":[1}}"#, "not-json", "/context/a", 18),
        (r#","context":{"a":1]}"#, "not-json", "/context", 17),
        (r#","context":{"/~":{"a~1b/":[0,{"":?"#, "not-json", "/context/~1~0/a~01b~1/1/", 33),
        (",}", "not-json", "", 1),
        (" 1}", "not-json", "", 1),
    ] {
        let error = assert_refused(format!("{HEAD}{members}"), code, pointer);
        assert_eq!(error.offset, HEAD.len() + offset, "{members}");
    }
}

#[test]
fn names_the_first_of_several_errors() {
    for (members, code, pointer) in [
        (r#""source":1,"modle":1"#, "wrong-type", "/source"),
        (r#""modle":1,"source":1"#, "unknown-member", "/modle"),
        (r#""modle":1,"source":"\ud800""#, "unknown-member", "/modle"),
        (r#""context":{"a":1,"a":01}"#, "duplicate-member", "/context/a"),
        (r#""context":{"a":01,"a":1}"#, "bad-number", "/context/a"),
        (r#""context":{"b":{"a":1,"a":1},"b":1}"#, "duplicate-member", "/context/b/a"),
        (r#""status":"","status":1"#, "duplicate-member", "/status"),
    ] {
        assert_refused(event(members), code, pointer);
    }
    // What follows the object comes after its members, and what is missing comes last.
    assert_refused(with("source", "1") + " ", "wrong-type", "/source");
    assert_refused(with("event_type", r#""error""#) + " ", "white-space-around", "");
    assert_refused("{}", "missing-member", "/event_id");
}

#[test]
fn says_what_is_wrong_where_and_how_to_mend_it() {
    let error = assert_refused(event(r#""modle":"m""#), "unknown-member", "/modle");
    assert_eq!(
        error.to_string(),
        "an event has no member of this name (at /modle, byte 140): check the spelling; \
         free-form data goes in `context`"
    );
    let error = assert_refused("[]", "not-an-object", "");
    assert_eq!(
        error.to_string(),
        "the payload is not a JSON object (byte 0): send one JSON object, its first byte `{`"
    );
    // A name may hold what a terminal would obey.
    let error = assert_refused(event(r#""\u001b[2J":1"#), "unknown-member", "/\u{1b}[2J");
    assert!(error.to_string().contains(r"at /\u{1b}[2J, byte"), "{error}");
}
