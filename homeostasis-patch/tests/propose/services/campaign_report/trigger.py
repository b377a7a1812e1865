import service

service.report([{"campaign": "phone", "type": "order", "cents": 99}])
