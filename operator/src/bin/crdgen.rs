//! Writes the three CRDs: into the folder given, or to standard output.

use std::io::Write;
use std::path::Path;

fn main() -> std::io::Result<()> {
    let folder = std::env::args().nth(1);
    for (name, crd) in operator::api::crd::all() {
        let yaml = operator::api::crd::yaml(&crd);
        match &folder {
            Some(folder) => std::fs::write(Path::new(folder).join(format!("{name}.yaml")), yaml)?,
            None => writeln!(std::io::stdout(), "---\n{yaml}")?,
        }
    }
    Ok(())
}
