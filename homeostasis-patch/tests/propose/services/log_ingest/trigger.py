import service

service.ingest(b"ERROR Ger\xe4t brennt\n")
