//! Files of one test, removed when it is over.

use std::path::PathBuf;

/// A folder of its own.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(format!("credit-ledger-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir(&path).expect("it is made");
        Self(path)
    }

    /// Where a file is, or will be.
    pub fn path(&self, name: &str) -> String {
        let path = self.0.join(name);
        path.to_str().expect("the path is a text").to_owned()
    }

    /// Writes a file, and says where it is.
    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).expect("it is written");
        path
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect("it is there")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
