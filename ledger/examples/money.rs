//! Reads one number a line and writes it as an exact decimal with nine fraction digits, or
//! `refused`.
//!
//! For a check against another implementation of decimals, e.g. Python's:
//! `python3 numbers.py | cargo run --example money | diff - expected`.

use std::io::{self, BufRead as _, BufWriter, Write as _};

use ledger::payload::Money;

fn main() -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    for line in io::stdin().lock().lines() {
        match Money::parse_json_number(&line?) {
            Ok(money) => writeln!(out, "{money}")?,
            Err(_) => writeln!(out, "refused")?,
        }
    }
    out.flush()
}
