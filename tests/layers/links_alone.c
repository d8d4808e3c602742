/* The program around one folder's library that proves its undefined symbols are all found in the
 * folders it may use; see src/meson.build. */

int main(void)
{
    return 0;
}
