//! The HTML page: whole, harmless, bounded, and true.

use checks::forge::{Archive, Leaf, golden, honest};
use ledger::hash::Digest;
use ledger::verify::{Check, Finding, Place, Policy, Report};
use verifier::explain;
use verifier::report::{Inputs, html};

use super::{flipped, long, verify};

fn page(report: &Report) -> String {
    let page = html::write(
        report,
        Inputs { archive: "s3://kept/<here>", trust_sha256: &"0".repeat(64), parts: &[] },
    );
    assert_sound(&page);
    page
}

/// Elements without an end.
const VOID: [&str; 4] = ["!DOCTYPE", "meta", "br", "img"];

/// Elements that are opened are closed, in order; headings skip no level; nothing is fetched or
/// run; no
/// id stands twice.
#[track_caller]
fn assert_sound(page: &str) {
    let (mut open, mut level, mut ids) = (Vec::new(), 0, Vec::new());
    let style = page.split("<style>").nth(1).unwrap().split("</style>").next().unwrap();
    let page = page.replace(style, "");
    for part in page.split('<').skip(1) {
        let (tag, text) = part.split_once('>').unwrap();
        assert!(!text.contains('>'), "a bare `>` in {text}");
        let name = tag.trim_start_matches('/').split([' ', '\n']).next().unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "at {part}");
        } else if !VOID.contains(&name) && !tag.ends_with('/') {
            open.push(name);
        }
        if let Some(heading) = name.strip_prefix('h').and_then(|level| level.parse::<u8>().ok())
            && !tag.starts_with('/')
        {
            assert!(heading <= level + 1, "h{heading} after h{level}");
            level = heading;
        }
        ids.extend(tag.split_once(" id=\"").map(|(_, id)| id.split('"').next().unwrap()));
        for attribute in [" src=", " style=", " on", "javascript", "http:", "https:"] {
            assert!(!tag.contains(attribute), "{attribute} in <{tag}>");
        }
        assert!(!["script", "link", "iframe", "img", "base", "form"].contains(&name), "<{tag}>");
        for href in tag.split(" href=\"").skip(1) {
            assert!(href.starts_with('#'), "<{tag}>");
        }
        for url in tag.split("url(").skip(1) {
            assert!(url.starts_with("#p-"), "<{tag}>");
        }
    }
    assert!(open.is_empty(), "left open: {open:?}");
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "an id stands twice");
    assert!(!style.contains("url(") && !style.contains("@import"));
}

/// Decodes Base64 without a library.
fn base64(text: &str) -> Vec<u8> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0_u32);
    for byte in text.trim_end_matches('=').bytes() {
        let value = alphabet.iter().position(|of| *of == byte).unwrap();
        held = held << 6 | u32::try_from(value).unwrap();
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(held >> bits & 0xff).unwrap());
        }
    }
    bytes
}

#[test]
fn the_policy_lets_our_style_through_and_nothing_else() {
    let hash = html::STYLE_HASH.strip_prefix("sha256-").unwrap();
    assert_eq!(
        base64(hash),
        Digest::of(html::STYLE.as_bytes()).as_bytes(),
        "after a change of style.css: openssl dgst -sha256 -binary style.css | base64"
    );
    let (archive, trust) = golden();
    let page = page(&verify(&archive, &trust, Policy::default()));
    let policy = format!(
        "default-src 'none'; style-src '{}'; base-uri 'none'; form-action 'none'",
        html::STYLE_HASH
    );
    assert!(page.contains(&policy), "{page}");
    assert!(page.contains(&format!("<style>{}</style>", html::STYLE)));
}

#[test]
fn the_verdict_comes_first_and_every_part_is_there() {
    let (archive, trust) = golden();
    let proven = verify(&archive, &trust, Policy::default());
    let shown = page(&proven);
    let parts = [
        "<strong>PROVEN</strong>",
        "<h2>Scope</h2>",
        "What was asked for",
        "<h2>Inputs</h2>",
        "<h2>Hours and chunks</h2>",
        "<h2 id=\"findings\">Findings</h2>",
        "<h2>Who signed what</h2>",
        "<h2>Counted by agents, never recorded</h2>",
        "<h2 id=\"chunks\">Chunks</h2>",
        "<h2>What is not claimed</h2>",
    ];
    let places: Vec<_> = parts.iter().map(|part| shown.find(part).expect(part)).collect();
    assert!(places.is_sorted(), "{places:?}");
    // Inputs and objects by digest, keys with what they signed.
    let root = proven.detail.log_root.unwrap();
    let checkpoint = proven.checkpoint.as_ref().unwrap();
    for digest in [root, checkpoint.sha256] {
        assert!(shown.contains(&format!("<code>{digest}</code>")), "{digest}");
    }
    for chunk in &proven.detail.chunks {
        assert!(shown.contains(&format!("<code>{}</code>", chunk.manifest.digest.sha256)));
    }
    for (key, signed) in proven.workspaces.iter().flat_map(|workspace| &workspace.signers) {
        let row = format!(
            "<tr><td><code>{key}</code></td><td>{}</td><td class=\"n\">{}</td><td \
             class=\"n\">{}</td></tr>",
            signed.role, signed.submissions, signed.events
        );
        assert!(shown.contains(&row), "{row}");
    }
    for line in Report::NOT_CLAIMED {
        assert!(shown.contains(line), "{line}");
    }
}

#[test]
fn a_finding_stands_with_its_place_and_its_page() {
    let (archive, trust, object) = flipped();
    let shown = page(&verify(&archive, &trust, Policy::default()));
    assert!(shown.contains("<strong>TAMPERED</strong>") && shown.contains("Exit code 1."));
    let finding = shown.split("id=\"T051\"").nth(1).unwrap().split("</section>").next().unwrap();
    assert!(finding.contains(&format!("<td>{object}</td>")), "{finding}");
    assert!(finding.contains("expected <code>") && finding.contains("found <code>"), "{finding}");
    for heading in ["What the finding means", "What to do", "Innocent causes"] {
        let first = explain::section(Check::ObjectDigest, heading).lines().next().unwrap();
        assert!(finding.contains(first), "{heading}: {first} is not in {finding}");
    }
    // The picture marks the chunk, and the rest as verified.
    assert!(
        shown
            .contains("fill=\"url(#p-broken)\" stroke=\"#555\" stroke-width=\"0.6\"><title>acme, ")
    );
    assert!(shown.contains("1 broken"), "{shown}");
}

#[test]
fn what_a_hostile_archive_says_stays_text() {
    let (mut archive, trust) = golden();
    let evil = "events/<img src=x onerror=alert(1)>\"'&\u{1b}[2J\u{202e}.parquet";
    archive.0.insert(evil.to_owned(), b"x".to_vec());
    let mut report = verify(&archive, &trust, Policy::default());
    let place =
        Place { column: Some("link"), ..Place::object("</table></main><script>1</script>") };
    let finding = Finding::new(Check::RowLink, place);
    report
        .findings
        .insert(0, finding.differs("`</code>`", "\u{2066}\u{0}<b>").because("<h1>no</h1>"));
    report.origin = "<u>origin</u>".to_owned();
    let shown = page(&report);
    for marked in
        ["<script", "<img", "<u>", "<b>", "<h1>no", "\u{1b}", "\u{202e}", "\u{2066}", "\u{0}"]
    {
        assert!(!shown.contains(marked), "{marked:?}");
    }
    assert!(shown.contains(
        "events/&lt;img src=x onerror=alert(1)&gt;&quot;&#39;&amp;\u{fffd}[2J\u{fffd}.parquet"
    ));
}

#[test]
fn years_of_hours_and_many_findings_stay_a_page() {
    // Up to 1,000 hours: by the hour; more: by the day; thousands of years: by more.
    let (made, archive) = long(3, 900);
    let hourly = page(&verify(&archive, &made.trust, Policy::default()));
    assert!(hourly.contains("Each column is one hour"), "{hourly}");
    let (made, archive) = long(3, 2_000);
    let report = verify(&archive, &made.trust, Policy::default());
    let daily = page(&report);
    assert!(daily.contains("Each column is one day") && daily.len() < 400_000, "{}", daily.len());
    let mut ages = report.clone();
    ages.detail.hours.insert(0, ledger::time::Micros::EPOCH.hour());
    ages.detail.hours.push(ledger::time::Micros::MAX.hour());
    let shown = page(&ages);
    assert!(
        shown.contains("Each column is 3,650 days") && shown.len() < 1_000_000,
        "{}",
        shown.len()
    );
    // Hours without a note are told.
    assert!(
        shown
            .contains("url(#p-missing)\" stroke=\"#555\" stroke-width=\"0.6\"><title>hour notes, ")
    );
    let mut many = report.clone();
    let finding = |at: u64| Finding::new(Check::RowLink, Place::leaf(at));
    many.findings.extend((0..100_000).map(finding));
    let chunk = many.detail.chunks[0].clone();
    many.detail.chunks.extend(std::iter::repeat_n(chunk, 5_000));
    let workspace = many.workspaces[0].clone();
    many.workspaces.extend(std::iter::repeat_n(workspace, 5_000));
    let shown = page(&many);
    assert!(shown.len() < 2_000_000, "{}", shown.len());
    assert!(shown.contains("<strong>300 are listed, 47"), "the cut is told");
    assert!(shown.contains("<p>And 99960 more: <code>--json</code> has all of them.</p>"));
    assert!(shown.contains("more workspaces: <code>--json</code>"));
}

#[test]
fn an_hour_without_a_note_shows_as_missing() {
    let made = (0..).map(honest).find(|made| {
        made.content.leaves.iter().filter(|leaf| matches!(leaf, Leaf::Hour(_))).count() >= 3
    });
    let mut made = made.unwrap();
    let hours = made.content.leaves.iter().enumerate();
    let (at, hour) = hours
        .filter_map(|(at, leaf)| match leaf {
            Leaf::Hour(note) => Some((at, note.hour)),
            Leaf::Chunk(_) => None,
        })
        .nth(1)
        .unwrap();
    made.content.leaves.remove(at);
    let report = verify(&made.archive(), &made.trust, Policy::default());
    assert!(report.findings.iter().any(|finding| finding.check == Check::HourOrder));
    let shown = page(&report);
    let label = format!("{} {:02}:00", hour.date(), hour.of_day());
    let title = format!("<title>hour notes, {label} to {label}: the hour has no note");
    assert!(shown.contains(&title), "{title} is not in {shown}");
}

#[test]
fn an_empty_archive_and_every_severity_make_a_page() {
    let (_, trust) = golden();
    let empty = page(&verify(&Archive::default(), &trust, Policy::default()));
    assert!(
        empty.contains("<strong>UNFINISHED</strong>") && empty.contains("no hour and no chunk")
    );
    let mut report = verify(&Archive::default(), &trust, Policy::default());
    for check in Check::ALL {
        report.findings = vec![Finding::new(*check, Place::default())];
        let shown = page(&report);
        let head = format!("<h3>{} {}: ", check.id(), check.severity().as_str());
        assert!(shown.contains(&head) && shown.contains("the archive as a whole"), "{head}");
        let class = format!("class=\"finding {}\"", check.severity().as_str());
        assert!(shown.contains(&class), "{class}");
    }
}
