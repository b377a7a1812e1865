import service

log = service.AuditLog()
log.add({"at": "10:00", "verb": "paid", "kind": "order", "id": 4711})
