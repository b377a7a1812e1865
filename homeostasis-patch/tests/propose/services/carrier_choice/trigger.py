import service

service.plan([service.Carrier("post", 2000, 300)], [{"id": 1, "grams": 9000, "country": "DE"}])
