import service

lines = [{"quantity": 1, "unit_price": 900}]
service.totals({"lines": lines, "customer": "member"})
