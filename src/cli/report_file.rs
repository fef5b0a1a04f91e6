//! The file that a command writes all its rows to, where it prints only some: CSV, row by row, so
//! that no number of them fills the memory.

use std::fs::File;
use std::path::Path;

use anyhow::Context;

/// A CSV file, or none where nobody asked for one.
pub struct ReportFile(Option<csv::Writer<File>>);

impl ReportFile {
    /// Makes the file, with its header.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn create<const N: usize>(path: Option<&Path>, header: [&str; N]) -> csv::Result<Self> {
        let mut writer = path.map(csv::Writer::from_path).transpose()?;
        if let Some(writer) = &mut writer {
            writer.write_record(header)?;
        }
        Ok(Self(writer))
    }

    /// Writes a row.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write<I, T>(&mut self, row: I) -> anyhow::Result<()>
    where
        I: IntoIterator<Item = T>,
        T: AsRef<[u8]>,
    {
        match &mut self.0 {
            Some(writer) => writer
                .write_record(row)
                .context("the report cannot be written"),
            None => Ok(()),
        }
    }

    /// Writes what is still to be written.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn finish(&mut self) -> anyhow::Result<()> {
        match &mut self.0 {
            Some(writer) => writer.flush().context("the report cannot be written"),
            None => Ok(()),
        }
    }
}
