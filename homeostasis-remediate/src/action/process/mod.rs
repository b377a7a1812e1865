//! Child processes that a host supervises: started without a shell, adopted after a restart of the
//! host, restarted by playbooks.

mod actions;
mod identity;
mod supervisor;

pub use actions::{RestartProcess, StartProcess, StopProcess};
pub use identity::ProcessId;
pub use supervisor::{PidFileWriter, ProcessError, ProcessSpec, ProcessSupervisor};
