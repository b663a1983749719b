//! Programs that are not ours, where `make tools-s3` has put them.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tokio::process::Command;

use crate::rig::Failure;

/// The path of a program below the cache directory.
pub fn tool(path: &str) -> Result<PathBuf, Failure> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty());
    let cache = cache.map(PathBuf::from).or_else(home).ok_or("neither XDG_CACHE_HOME nor HOME")?;
    let tool = cache.join("tallystick").join(path);
    if tool.is_file() {
        Ok(tool)
    } else {
        Err(format!("`{}` is not there: make tools-s3", tool.display()).into())
    }
}

/// Runs a script of `checks/second` in Python; gives its exit code and the JSON that it prints.
pub async fn python(script: &str, arguments: &[&Path]) -> Result<(Option<i32>, Value), Failure> {
    python_on(Command::new("env"), script, arguments).await
}

/// The same, by a program that runs another one: `env`, `taskset`.
pub async fn python_on(
    mut command: Command,
    script: &str,
    arguments: &[&Path],
) -> Result<(Option<i32>, Value), Failure> {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("second");
    // Nothing is to be left in the source tree.
    command.arg(tool("venv/bin/python")?).env("PYTHONDONTWRITEBYTECODE", "1");
    command.arg(scripts.join(script)).args(arguments);
    let output = command.output().await?;
    match serde_json::from_slice(&output.stdout) {
        Ok(told) => Ok((output.status.code(), told)),
        Err(error) => {
            let stderr = String::from_utf8_lossy(&output.stderr);
            Err(format!("{script}: {error}: {stderr}").into())
        }
    }
}
