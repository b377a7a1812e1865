import service

address = {"name": "Ada", "street": "Ring", "number": "12", "zip": "07743", "city": "Jena"}
service.render([address])
