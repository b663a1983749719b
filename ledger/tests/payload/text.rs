//! FAULTS row 31: UTF-8, escapes, and what no string may hold.

use crate::support::{HEAD, assert_accepted, assert_refused, event, with};

#[test]
fn refuses_bytes_that_are_not_utf8() {
    for bytes in [
        &b"\xff"[..],
        b"\xc0\x80",         // U+0000, overlong
        b"\xc1\xa1",         // `a`, overlong
        b"\xe0\x80\xaf",     // `/`, overlong
        b"\xf0\x80\x80\xaf", // the same in four bytes
        b"\xed\xa0\x80",     // half of a surrogate pair
        b"\xed\xa0\xbd\xed\xb8\x80",
        b"\xf4\x90\x80\x80", // above U+10FFFF
        b"\xe2\x82",         // cut off
        b"\x80",
    ] {
        let (head, tail) = (event(r#""source":""#), br#""}"#);
        let head = head.trim_end_matches('}').as_bytes();
        let error = assert_refused([head, bytes, tail].concat(), "not-utf8", "");
        assert_eq!(error.offset, head.len());
    }
}

#[test]
fn reads_escapes_as_rfc_8259_has_them() {
    for (written, text) in [
        (r"", ""),
        (r"a\u0062c", "abc"),
        (r#"\"\\\/\b\f\n\r\t"#, "\"\\/\u{8}\u{c}\n\r\t"),
        (r"\u00e9\u00E9é", "ééé"),
        (r"\ud83d\ude00", "😀"),
        (r"\uDBFF\uDFFF", "\u{10ffff}"),
        (r"\ud7ff\ue000\uffff", "\u{d7ff}\u{e000}\u{ffff}"),
        (r"\u007f\u0001", "\u{7f}\u{1}"),
        ("\u{2028}\u{2029}\u{7f}\u{feff}", "\u{2028}\u{2029}\u{7f}\u{feff}"),
    ] {
        let payload = with("source", &format!("\"{written}\""));
        let event = assert_accepted(&payload);
        assert_eq!(event.source.as_deref(), Some(text));
        assert!(
            matches!(event.source, Some(std::borrow::Cow::Borrowed(_))) != written.contains('\\')
        );
        // The same rules where the string is only stepped over.
        assert_accepted(&with("context", &format!(r#"{{"{written}":["{written}"]}}"#)));
    }
}

#[test]
fn refuses_what_no_string_may_hold() {
    for (written, code, offset) in [
        ("ab\0", "nul", 2),
        (r"ab\u0000", "nul", 2),
        ("ab\u{1}", "control-character", 2),
        ("\t", "control-character", 0),
        ("ab\n", "control-character", 2),
        ("\u{1f}", "control-character", 0),
        (r"a\ud800", "lone-surrogate", 1),
        (r"a\udc00", "lone-surrogate", 1),
        (r"\udfff\ud800", "lone-surrogate", 0),
        (r"\ud800\ud800\udc00", "lone-surrogate", 0),
        (r"\ud800\u0041", "lone-surrogate", 0),
        (r"\ud800\u00", "lone-surrogate", 0),
        (r"\ud800\n", "lone-surrogate", 0),
        (r"\ud800\\udc00", "lone-surrogate", 0),
        (r"\x41", "bad-escape", 0),
        (r"\U0041", "bad-escape", 0),
        (r"\u004", "bad-escape", 0),
        (r"\u+041", "bad-escape", 0),
        (r"\u00é", "bad-escape", 0),
        ("\\\n", "bad-escape", 0),
    ] {
        for (more, pointer) in [
            (r#""source":"#, "/source"),
            (r#""context":{"a":[0,"#, "/context/a/1"),
            // A name that cannot be read has no pointer: the object's stands for it.
            (r#""context":{"a":{"#, "/context/a"),
            ("", ""),
        ] {
            let head = format!("{HEAD},{more}\"");
            let error = assert_refused(format!("{head}{written}\"}}"), code, pointer);
            assert_eq!(error.offset, head.len() + offset, "{written:?} after {more}");
        }
    }
}

#[test]
fn finds_the_end_of_a_string_at_every_place_of_a_word() {
    // Neighbours of the bytes that end a run, and bytes with the high bit.
    let plain: String = " !#[]^~\u{7f}é\u{80}\u{7ff}\u{ffff}😀".chars().cycle().take(60).collect();
    for (length, _) in plain.char_indices() {
        let head = plain.get(..length).unwrap();
        let payload = with("source", &format!("\"{head}\""));
        assert_eq!(assert_accepted(&payload).source.as_deref(), Some(head));
        let payload = with("source", &format!("\"{head}\\n{head}\""));
        assert_eq!(assert_accepted(&payload).source.unwrap(), format!("{head}\n{head}"));
        let before = format!("{HEAD},\"source\":\"{head}");
        for control in ["\u{1}", "\u{1f}"] {
            let payload = format!("{before}{control}\"}}");
            let error = assert_refused(payload, "control-character", "/source");
            assert_eq!(error.offset, before.len());
        }
        assert_eq!(assert_refused(&before, "cut-off", "/source").offset, before.len());
    }
}

#[test]
fn knows_members_by_their_exact_bytes() {
    for name in [
        "Source",
        "source ",
        "ѕource",
        "sourсe",
        "ｓource",
        "source\u{200b}",
        "so\u{ad}urce",
        "",
        "source\u{301}",
        "context.a",
    ] {
        let pointer = format!("/{name}");
        assert_refused(event(&format!("\"{name}\":null")), "unknown-member", &pointer);
    }
    // In a context these are names like any other, and none is the same as another.
    assert_accepted(&with("context", "{\"e\u{301}\":1,\"é\":2,\"E\u{301}\":3,\"ｅ\":4,\"\":5}"));
}
