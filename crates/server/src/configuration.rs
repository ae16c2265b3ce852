//! `callscope config …`: what the settings are, and what is wrong with them.

use crate::command_line::ConfigCommand;
use crate::settings::Settings;
use std::path::Path;
use std::process::ExitCode;

/// `callscope config …`. It opens no database and needs none.
pub fn config(file: Option<&Path>, command: &ConfigCommand) -> anyhow::Result<ExitCode> {
    match command {
        ConfigCommand::Check => {
            let (_, faults) = Settings::inspect(file)?;
            if faults.is_empty() {
                println!("the settings are sound");
                return Ok(ExitCode::SUCCESS);
            }
            for fault in faults {
                eprintln!("callscope: {fault}");
            }
            Ok(ExitCode::FAILURE)
        }
        // As they are, sound or not: that is when one wants to see them.
        ConfigCommand::Show => {
            print!("{}", Settings::read(file)?.to_toml()?);
            Ok(ExitCode::SUCCESS)
        }
    }
}
