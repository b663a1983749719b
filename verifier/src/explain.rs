//! What each check means: one page for each, the same as in `docs/checks/`.
//!
//! A page starts with `# T051: <title>` and `Severity: ...`, and has the sections of [`SECTIONS`].

use ledger::verify::Check;

/// The headings of every page, in order.
pub const SECTIONS: [&str; 5] =
    ["What it checks", "Why it matters", "What the finding means", "What to do", "Innocent causes"];

macro_rules! pages {
    ($($id:literal)*) => {
        /// Every page, by the id of its check.
        const PAGES: &[(&str, &str)] =
            &[$(($id, include_str!(concat!("../../docs/checks/", $id, ".md"))),)*];
    };
}

pages! {
    "T001" "T002" "T003" "T004" "T005" "T006" "T007" "T008" "T009" "T010"
    "T011" "T012" "T013" "T014" "T015" "T016" "T017" "T020" "T021" "T022"
    "T023" "T024" "T025" "T026" "T027" "T028" "T030" "T031" "T032" "T033"
    "T034" "T040" "T041" "T050" "T051" "T052" "T060" "T061" "T062" "T063"
    "T064" "T065" "T066" "T067" "T068" "T069" "T070" "T071" "T072" "T073"
    "T074" "T080" "T081" "T082" "T083" "T084" "T085" "T090" "T091" "T095"
    "T096" "T100" "T101" "T102" "T103" "T104" "T105" "T106" "T107" "T108"
    "T109" "T110" "T111" "T112" "T113" "T118" "T120" "T121" "T122" "T130" "T131" "T132"
    "T135" "T136" "T140" "T141" "T142" "T143" "T144" "T145" "T146" "T147" "T148"
}

/// The page of a check, as Markdown; `None` where nobody has written one, which a test refuses.
pub fn page(check: Check) -> Option<&'static str> {
    PAGES.iter().find(|(id, _)| *id == check.id()).map(|(_, page)| *page)
}

/// The text of one section of a check's page, without its heading; empty where there is none.
pub fn section(check: Check, heading: &str) -> &'static str {
    let page = page(check).unwrap_or_default();
    let body = page.split("\n## ").find_map(|part| part.strip_prefix(heading));
    body.map_or("", str::trim)
}

/// The ids that have a page, in order.
pub fn ids() -> impl Iterator<Item = &'static str> {
    PAGES.iter().map(|(id, _)| *id)
}
