/* MooseFS refuses any address in 127.0.0.0/8 between its own daemons, and the benchmark keeps all traffic on the
 * loopback interface. Preloaded, this shows 127.0.0.1 to them as 240.0.0.1, which no packet ever carries: addresses
 * going into the kernel are mapped one way, those coming out the other. Only connect, bind, accept, getpeername and
 * getsockname are wrapped: it costs nothing where bytes flow. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#define REAL(r, name, ...) static r (*real)(__VA_ARGS__); if (!real) real = (r (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)
#define FAKE 0xF0000001u
#define LOOP 0x7F000001u

static const struct sockaddr *in(const struct sockaddr *a, socklen_t l, struct sockaddr_in *t)
{
	if (a && a->sa_family == AF_INET && l >= sizeof *t) {
		memcpy(t, a, sizeof *t);
		if (ntohl(t->sin_addr.s_addr) == FAKE) { t->sin_addr.s_addr = htonl(LOOP); return (struct sockaddr *)t; }
	}
	return a;
}
static void out(struct sockaddr *a, socklen_t *l)
{
	struct sockaddr_in *t = (struct sockaddr_in *)a;
	if (a && l && *l >= sizeof *t && a->sa_family == AF_INET && ntohl(t->sin_addr.s_addr) == LOOP) t->sin_addr.s_addr = htonl(FAKE);
}
int connect(int s, const struct sockaddr *a, socklen_t l)
{
	REAL(int, "connect", int, const struct sockaddr *, socklen_t);
	struct sockaddr_in t;
	return real(s, in(a, l, &t), l);
}
int bind(int s, const struct sockaddr *a, socklen_t l)
{
	REAL(int, "bind", int, const struct sockaddr *, socklen_t);
	struct sockaddr_in t;
	return real(s, in(a, l, &t), l);
}
int accept(int s, struct sockaddr *a, socklen_t *l)
{
	REAL(int, "accept", int, struct sockaddr *, socklen_t *);
	int r = real(s, a, l);
	if (r >= 0) out(a, l);
	return r;
}
int accept4(int s, struct sockaddr *a, socklen_t *l, int f)
{
	REAL(int, "accept4", int, struct sockaddr *, socklen_t *, int);
	int r = real(s, a, l, f);
	if (r >= 0) out(a, l);
	return r;
}
int getpeername(int s, struct sockaddr *a, socklen_t *l)
{
	REAL(int, "getpeername", int, struct sockaddr *, socklen_t *);
	int r = real(s, a, l);
	if (r == 0) out(a, l);
	return r;
}
int getsockname(int s, struct sockaddr *a, socklen_t *l)
{
	REAL(int, "getsockname", int, struct sockaddr *, socklen_t *);
	int r = real(s, a, l);
	if (r == 0) out(a, l);
	return r;
}
