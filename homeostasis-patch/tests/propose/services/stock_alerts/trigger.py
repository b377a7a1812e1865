import service

service.alerts([{"sku": "a", "stock": 0, "sold_per_day": 1}])
