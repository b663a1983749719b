//! The hours of the log as a picture: columns are hours, or longer spans where there are many;
//! rows are
//! the hour notes and the workspaces. Each state has a colour, a pattern and a letter, so that it
//! can be told
//! in black and white. However long a hostile log claims to be, the picture has at most a thousand
//! columns.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};

use ledger::layout::Artefact;
use ledger::names::Workspace;
use ledger::time::{HOUR, Hour, Micros};
use ledger::verify::{ChunkReport, ChunkState, Report, Severity};

use super::escape::e;

/// Most columns, and most rows for workspaces; the last row takes the rest together.
const COLUMNS_MAX: i64 = 1_000;
const ROWS_MAX: usize = 16;

/// How many hours a column may stand for, and how that is said.
const SPANS: [(i64, &str); 6] = [
    (1, "one hour"),
    (24, "one day"),
    (168, "7 days"),
    (720, "30 days"),
    (8_760, "365 days"),
    (87_600, "3,650 days"),
];

/// Sizes in units of the picture.
const GUTTER: i64 = 150;
const WIDTH: i64 = 864;
const CELL_HEIGHT: i64 = 18;
const BAND_COLUMNS: i64 = 96;

/// What a cell shows; the gravest of what lies in it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Mark {
    /// Nothing is logged.
    Quiet,
    Verified,
    Erased,
    Pruned,
    Open,
    Unchecked,
    Missing,
    Broken,
}

impl Mark {
    const ALL: [Self; 8] = [
        Self::Quiet,
        Self::Verified,
        Self::Erased,
        Self::Pruned,
        Self::Open,
        Self::Unchecked,
        Self::Missing,
        Self::Broken,
    ];

    fn of(state: ChunkState) -> Self {
        match state {
            ChunkState::Verified => Self::Verified,
            ChunkState::Erased => Self::Erased,
            ChunkState::Pruned => Self::Pruned,
            ChunkState::Unchecked => Self::Unchecked,
            ChunkState::Broken => Self::Broken,
        }
    }

    const fn id(self) -> &'static str {
        match self {
            Self::Quiet => "quiet",
            Self::Verified => "verified",
            Self::Erased => "erased",
            Self::Pruned => "pruned",
            Self::Open => "open",
            Self::Unchecked => "unchecked",
            Self::Missing => "missing",
            Self::Broken => "broken",
        }
    }

    const fn letter(self) -> &'static str {
        match self {
            Self::Quiet | Self::Verified => "",
            Self::Erased => "E",
            Self::Pruned => "P",
            Self::Open => "O",
            Self::Unchecked => "?",
            Self::Missing => "M",
            Self::Broken => "X",
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Quiet => "no entry is logged",
            Self::Verified => "verified",
            Self::Erased => "verified, with payloads that a recorded erasure withholds",
            Self::Pruned => "removed by retention, as the log records",
            Self::Open => "logged, but the hour has no note yet",
            Self::Unchecked => "not checked, or not in full",
            Self::Missing => "the hour has no note, though later ones have",
            Self::Broken => "a finding of tampering lies here",
        }
    }

    /// Background, colour of the pattern, and the pattern's path in a tile of 8 by 8.
    const fn look(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Quiet => ("#ffffff", "#ffffff", ""),
            Self::Verified => ("#b9e0bf", "#b9e0bf", ""),
            Self::Erased => ("#dfe9f8", "#35619b", "M2 2h1v1h-1zM6 6h1v1h-1z"),
            Self::Pruned => ("#ededed", "#8a8a8a", "M0 8L8 0M-2 2L2 -2M6 10L10 6"),
            Self::Open => ("#fff3cf", "#b98a1c", "M0 4H8"),
            Self::Unchecked => ("#f4f4f4", "#6a6a6a", "M4 4h1v1h-1z"),
            Self::Missing => ("#ffffff", "#a11212", "M4 0V8"),
            Self::Broken => ("#f7bdb4", "#a11212", "M0 0L8 8M8 0L0 8"),
        }
    }
}

/// The picture's rows, by column.
struct Grid {
    /// Hours that a column stands for.
    span: i64,
    words: &'static str,
    first: i64,
    columns: i64,
    rows: Vec<(String, BTreeMap<i64, Mark>)>,
}

fn index(hour: Hour) -> i64 {
    hour.start().get() / HOUR
}

impl Grid {
    fn of(report: &Report) -> Option<Self> {
        let detail = &report.detail;
        let hours = detail.hours.iter().map(|hour| index(*hour));
        let of_chunks = detail.chunks.iter().map(|chunk| index(chunk.manifest.hour));
        let (first, last) =
            hours.chain(of_chunks).fold(None, |ends: Option<(i64, i64)>, hour| {
                Some(ends.map_or((hour, hour), |(a, b)| (a.min(hour), b.max(hour))))
            })?;
        let fits = |(span, _): &(i64, _)| last / span - first / span < COLUMNS_MAX;
        let (span, words) = SPANS.into_iter().find(fits).or(SPANS.last().copied())?;
        let mut grid = Self {
            span,
            words,
            first: first / span,
            columns: last / span - first / span + 1,
            rows: Vec::new(),
        };
        let notes = grid.notes(report);
        grid.rows.push(("hour notes".to_owned(), notes));
        grid.workspaces(report);
        Some(grid)
    }

    /// The row of the hour notes.
    fn notes(&self, report: &Report) -> BTreeMap<i64, Mark> {
        let noted: BTreeSet<i64> = report.detail.hours.iter().map(|hour| index(*hour)).collect();
        let mut row = BTreeMap::new();
        let ends = noted.first().zip(noted.last()).map_or((0, -1), |(a, b)| (*a, *b));
        for column in self.first..self.first + self.columns {
            let (from, to) = (column * self.span, column * self.span + self.span - 1);
            let (within_from, within_to) = (from.max(ends.0), to.min(ends.1));
            let has = i64::try_from(noted.range(from..=to).count()).unwrap_or(i64::MAX);
            if has < within_to - within_from + 1 {
                mark(&mut row, column, Mark::Missing);
            } else if has > 0 {
                mark(&mut row, column, Mark::Verified);
            }
        }
        for chunk in &report.detail.chunks {
            let hour = index(chunk.manifest.hour);
            if hour > ends.1 {
                mark(&mut row, hour / self.span, Mark::Open);
            }
        }
        // What is wrong with a whole hour, or with its objects.
        for finding in &report.findings {
            let place = &finding.place;
            let whole = place.workspace.is_none() && place.seq.is_none();
            let copy = place.object.as_deref().and_then(Artefact::parse);
            let of_object = match copy {
                Some(Artefact::HourNote(hour) | Artefact::HourHeads(hour)) => Some(hour),
                _ => None,
            };
            if let Some(hour) = place.hour.or(of_object)
                && whole
                && finding.check.severity() == Severity::Tampering
                && (self.first..self.first + self.columns).contains(&(index(hour) / self.span))
            {
                mark(&mut row, index(hour) / self.span, Mark::Broken);
            }
        }
        row
    }

    fn workspaces(&mut self, report: &Report) {
        let mut by_name: BTreeMap<&Workspace, BTreeMap<i64, Mark>> = BTreeMap::new();
        for ChunkReport { manifest, state } in &report.detail.chunks {
            let row = by_name.entry(&manifest.workspace).or_default();
            mark(row, index(manifest.hour) / self.span, Mark::of(*state));
        }
        let too_many = by_name.len() > ROWS_MAX;
        let alone = if too_many { ROWS_MAX - 1 } else { by_name.len() };
        let rest = by_name.len().saturating_sub(alone);
        let mut rows = by_name.into_iter();
        for (name, row) in rows.by_ref().take(alone) {
            self.rows.push((name.to_string(), row));
        }
        if rest > 0 {
            let mut together = BTreeMap::new();
            for (column, state) in rows.flat_map(|(_, row)| row) {
                mark(&mut together, column, state);
            }
            self.rows.push((format!("{rest} others"), together));
        }
    }

    /// When a column begins, to the day or to the hour.
    fn label(&self, column: i64) -> String {
        let start = column.saturating_mul(self.span).saturating_mul(HOUR);
        let Some(hour) = Micros::new(start).map(Micros::hour) else { return String::new() };
        match self.span {
            1 => format!("{} {:02}:00", hour.date(), hour.of_day()),
            _ => hour.date(),
        }
    }
}

/// The gravest mark of a cell stays.
fn mark(row: &mut BTreeMap<i64, Mark>, column: i64, mark: Mark) {
    let cell = row.entry(column).or_insert(mark);
    *cell = mark.max(*cell);
}

pub(super) fn section(page: &mut String, report: &Report) -> fmt::Result {
    writeln!(page, "<h2>Hours and chunks</h2>")?;
    let Some(grid) = Grid::of(report) else {
        return writeln!(page, "<p>The log names no hour and no chunk.</p>");
    };
    writeln!(
        page,
        "<p>Each column is {} (UTC), each row the hour notes or a workspace. A cell shows the \
         gravest of \
         what lies in it.</p>",
        grid.words
    )?;
    picture(page, &grid)?;
    legend(page, &grid)
}

fn picture(page: &mut String, grid: &Grid) -> fmt::Result {
    let cell = (WIDTH / grid.columns.clamp(1, BAND_COLUMNS)).clamp(9, 72);
    let rows = i64::try_from(grid.rows.len()).unwrap_or(0);
    let band_height = rows * CELL_HEIGHT + 30;
    let bands = (grid.columns + BAND_COLUMNS - 1) / BAND_COLUMNS;
    let (width, height) = (GUTTER + WIDTH + 6, bands * band_height);
    writeln!(
        page,
        "<svg role=\"img\" viewBox=\"0 0 {width} {height}\" aria-labelledby=\"hours-title\">\n\
         <title id=\"hours-title\">{} columns of {}, {} rows; states are told in the table \
         below</title>\n<defs>",
        grid.columns,
        grid.words,
        grid.rows.len()
    )?;
    for mark in Mark::ALL {
        let (ground, stroke, path) = mark.look();
        writeln!(
            page,
            "<pattern id=\"p-{}\" width=\"8\" height=\"8\" patternUnits=\"userSpaceOnUse\">\
             <rect width=\"8\" height=\"8\" fill=\"{ground}\"/>\
             <path d=\"{path}\" fill=\"none\" stroke=\"{stroke}\"/></pattern>",
            mark.id()
        )?;
    }
    writeln!(page, "</defs>")?;
    for band in 0..bands {
        let from = grid.first + band * BAND_COLUMNS;
        let to = (from + BAND_COLUMNS).min(grid.first + grid.columns);
        draw(page, grid, from..to, cell, band * band_height)?;
    }
    writeln!(page, "</svg>")
}

fn draw(
    page: &mut String,
    grid: &Grid,
    columns: std::ops::Range<i64>,
    cell: i64,
    top: i64,
) -> fmt::Result {
    // Labels stand so far apart that they do not touch, and none leaves the picture.
    let room = if grid.span == 1 { 108 } else { 72 };
    let step = (room + cell - 1) / cell;
    let x = |column: i64| GUTTER + (column - columns.start) * cell;
    let labelled = |column: &i64| {
        (column - columns.start) % step == 0 && x(*column) + room <= GUTTER + WIDTH + 6
    };
    for column in columns.clone().filter(labelled) {
        writeln!(
            page,
            "<path d=\"M{x} {}V{}\" stroke=\"#555\"/><text x=\"{}\" y=\"{}\">{}</text>",
            top + 4,
            top + 18,
            x(column) + 3,
            top + 12,
            e(grid.label(column)),
            x = x(column),
        )?;
    }
    for (at, (name, row)) in (0_i64..).zip(&grid.rows) {
        let y = top + 18 + at * CELL_HEIGHT;
        writeln!(
            page,
            "<text class=\"row\" x=\"{}\" y=\"{}\">{}</text>",
            GUTTER - 6,
            y + 12,
            e(short(name))
        )?;
        let of = |column: i64| row.get(&column).copied().unwrap_or(Mark::Quiet);
        let cells: Vec<_> = columns.clone().map(|column| (column, of(column))).collect();
        for run in cells.chunk_by(|a, b| a.1 == b.1) {
            let (Some((first, mark)), Some((last, _))) = (run.first(), run.last()) else {
                continue;
            };
            let (left, wide) = (x(*first), (last - first + 1) * cell);
            write!(
                page,
                "<rect x=\"{left}\" y=\"{y}\" width=\"{wide}\" height=\"{}\" fill=\"url(#p-{id})\" \
                 stroke=\"#555\" stroke-width=\"0.6\"><title>{}, {} to {}: {}</title></rect>",
                CELL_HEIGHT - 2,
                e(name),
                e(grid.label(*first)),
                e(grid.label(*last)),
                mark.words(),
                id = mark.id(),
            )?;
            if !mark.letter().is_empty() {
                write!(
                    page,
                    "<text class=\"mark\" x=\"{}\" y=\"{}\">{}</text>",
                    left + wide / 2,
                    y + 12,
                    mark.letter()
                )?;
            }
            writeln!(page)?;
        }
    }
    Ok(())
}

/// A name that fits beside its row.
fn short(name: &str) -> String {
    if name.chars().count() <= 24 {
        return name.to_owned();
    }
    name.chars().take(22).chain(['…']).collect()
}

fn legend(page: &mut String, grid: &Grid) -> fmt::Result {
    writeln!(
        page,
        "<table><caption>What cells show, and how many there are in the rows of workspaces and of \
         hour \
         notes</caption><thead><tr><th scope=\"col\">Sign</th><th scope=\"col\">Meaning</th>\
         <th scope=\"col\">Cells</th></tr></thead><tbody>"
    )?;
    let marks = || grid.rows.iter().flat_map(|(_, row)| row.values());
    for mark in Mark::ALL {
        let count = match mark {
            Mark::Quiet => {
                let cells = grid.columns * i64::try_from(grid.rows.len()).unwrap_or(0);
                cells - i64::try_from(marks().count()).unwrap_or(0)
            }
            mark => i64::try_from(marks().filter(|of| **of == mark).count()).unwrap_or(0),
        };
        let (id, letter) = (mark.id(), mark.letter());
        writeln!(
            page,
            "<tr><td><svg class=\"key\" viewBox=\"0 0 26 16\" aria-hidden=\"true\"><rect x=\"1\" \
             y=\"1\" \
             width=\"24\" height=\"14\" fill=\"url(#p-{id})\" stroke=\"#555\"/><text \
             class=\"mark\" x=\"13\" \
             y=\"12\">{letter}</text></svg>{letter}</td><td>{}</td><td class=\"n\">{count}</td>\
             </tr>",
            mark.words()
        )?;
    }
    writeln!(page, "</tbody></table>")
}
