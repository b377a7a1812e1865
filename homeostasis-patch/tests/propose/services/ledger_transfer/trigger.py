import service

service.Ledger({"ada": 1000}).fee("ada", 90, 10)
