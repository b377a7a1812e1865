import service

service.settings("no-such-folder/local.json")
