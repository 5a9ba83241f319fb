/** An application with nothing to say: the lab wants one, and these tests write with SQL. */
import { createServer } from 'node:http';

createServer((_request, response) => response.end('ok')).listen(Number(process.env.PORT), process.env.HOST);
