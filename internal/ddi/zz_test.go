package ddi_test
import ("testing";"net";"net/http/httptest";"fmt";"bufio";"time";"strings")
func TestZZ(t *testing.T){
 s:=httptest.NewServer(door(t,backend())); defer s.Close()
 for _,n:=range []int{20, 70000} {
 c,_:=net.Dial("tcp",s.Listener.Addr().String())
 fmt.Fprintf(c,"PUT %s/configData HTTP/1.1\r\nHost: x\r\nAuthorization: TargetToken secret\r\nContent-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n",root,n)
 r:=bufio.NewReader(c); began:=time.Now()
 l,_:=r.ReadString('\n'); t.Log(n, strings.TrimSpace(l), time.Since(began))
 c.Close()
 }
}
