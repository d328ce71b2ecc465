"""A server of http.server in a thread answers urllib."""

import http.server
import threading
import urllib.error
import urllib.request


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/there" else 404)
        self.end_headers()
        self.wfile.write(b"answer")

    def log_message(self, *args):
        pass


server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
thread.start()
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
url = f"http://127.0.0.1:{server.server_port}"
with opener.open(url + "/there") as response:
    print(response.status, response.read())
try:
    opener.open(url + "/elsewhere")
except urllib.error.HTTPError as error:
    print(error.code)
    error.close()
server.shutdown()
thread.join()
server.server_close()
